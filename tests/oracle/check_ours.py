"""Loads a model folder, and an adapter folder, that this library wrote, with transformers and peft in Python.

Prints what was loaded, writes or compares logits, and exits with 1 where keys or logits differ:

    python tests/oracle/check_ours.py MODEL --adapter ADAPTER --ids '[[1, 2, 3]]' --compare logits.safetensors

`--compare` names a safetensors file with the tensor `logits` [B, T, V] that this library computed for the same ids.
"""

import argparse
import json
import re
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("--adapter", type=Path, help="folder with adapter_config.json and adapter_model.safetensors")
    parser.add_argument("--ids", required=True, help="token ids [B, T] as JSON, or the path of a JSON file with them")
    parser.add_argument("--out", type=Path, help="safetensors file to write `logits` to")
    parser.add_argument("--compare", type=Path, help="safetensors file with `logits` to compare with")
    parser.add_argument("--tolerance", type=float, default=2e-5, help="largest absolute difference (default 2e-5)")
    parser.add_argument("--merge", action="store_true", help="merge the adapter first")
    parser.add_argument("--greedy", type=int, default=0, metavar="N", help="also print N greedily generated tokens")
    return parser.parse_args()


def main() -> int:
    args = parse()
    text = args.ids if args.ids.lstrip().startswith("[") else Path(args.ids).read_text()
    ids = torch.tensor(json.loads(text))
    # A missing adapter key is a warning in Python and a failure here.
    warnings.simplefilter("error", UserWarning)
    warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
    warnings.filterwarnings("ignore", message="Specified to not .* vera_A and vera_B")  # drawn again from the seed
    warnings.filterwarnings("ignore", message="Unsupported layer type .*LayerNorm")  # peft's own LN tuning
    warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True` and a tied layer")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.disable_progress_bar()
    model, info = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    report = {name: sorted(str(k) for k in keys) for name, keys in info.items() if keys}
    if args.adapter:
        model = PeftModel.from_pretrained(model, args.adapter)
        saved = load_file(args.adapter / "adapter_model.safetensors")
        live = {re.sub(r"\.default(?=\.|$)", "", n).replace(".modules_to_save", "").replace("magnitude_vector.weight", "magnitude_vector"): p
                for n, p in
                [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]}
        unknown = sorted(name for name in saved if name not in live)
        different = sorted(n for n, t in saved.items() if n in live and not torch.equal(live[n], t.float()))
        report |= {k: v for k, v in [("adapter_unknown", unknown), ("adapter_not_loaded", different)] if v}
        print(f"adapter: {len(saved)} tensors, {type(model.peft_config['default']).__name__}, "
              f"base {model.peft_config['default'].base_model_name_or_path}")
        if args.merge:
            model = model.merge_and_unload()
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    print(f"logits: {list(logits.shape)}, mean {logits.mean():.6f}, std {logits.std():.6f}")
    if args.greedy:
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             max_new_tokens=args.greedy, pad_token_id=0)
        print(f"greedy: {json.dumps(out.tolist())}")
    if args.out:
        save_file({"logits": logits}, args.out)
    if args.compare:
        difference = (load_file(args.compare)["logits"].float() - logits).abs().max().item()
        print(f"largest difference: {difference:.3e}")
        if not difference <= args.tolerance:
            report["logits"] = [f"differ by {difference:.3e}, at most {args.tolerance:.1e}"]
    for name, problems in report.items():
        print(f"{name}: {problems}", file=sys.stderr)
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main())
