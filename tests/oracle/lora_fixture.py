"""Makes tests/fixtures/lora/<case>: adapters saved by peft for gpt2_tiny, and what peft computes with them, in float64.

Run: python tests/oracle/lora_fixture.py
"""

import copy
import json
import os
import sys

import torch
from fixture import (FIXTURES, adamw_losses, clean_folder, float32_error, loss_and_gradients, max_abs, random_batch,
                     save_expected)
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import GPT2LMHeadModel

SEED = 4
LEARNING_RATE = 5e-3

CASES = {
    "c_attn": dict(r=4, lora_alpha=8, target_modules=["c_attn"]),
    "all_linear": dict(r=2, lora_alpha=4, target_modules="all-linear"),
    "rslora": dict(r=4, lora_alpha=8, target_modules=["c_attn"], use_rslora=True),
    "bias_lora_only": dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"], bias="lora_only"),
    "bias_all": dict(r=2, lora_alpha=4, target_modules=["c_attn"], bias="all"),
    "patterns": dict(r=3, lora_alpha=6, target_modules=["c_attn", "c_fc"],
                     rank_pattern={"h.0.attn.c_attn": 2, "^transformer.h.2.mlp.c_fc": 5, "^h.1.attn.c_attn": 7},
                     alpha_pattern={"c_fc": 9, "h.2.mlp.c_fc": 1}),
    "modules_to_save": dict(r=2, lora_alpha=4, target_modules=["c_attn"], modules_to_save=["ln_f"]),
    "layers_to_transform": dict(r=2, lora_alpha=4, target_modules=["c_attn", "mlp.c_proj"], layers_to_transform=[1]),
    "regex": dict(r=2, lora_alpha=4, target_modules=r".*\.h\.[02]\.mlp\.c_(fc|proj)"),
    "exclude": dict(r=2, lora_alpha=4, target_modules=["c_proj"], exclude_modules=["mlp.c_proj"]),
    "gaussian": dict(r=2, lora_alpha=4, target_modules=["attn.c_proj"], init_lora_weights="gaussian"),
    "init_false": dict(r=2, lora_alpha=4, target_modules=["attn.c_proj"], init_lora_weights=False),
}


def base_model() -> GPT2LMHeadModel:
    model = GPT2LMHeadModel.from_pretrained(FIXTURES / "gpt2_tiny", attn_implementation="eager").eval()
    # What adapter_config.json records as its base: no path of one machine.
    model.name_or_path = model.config._name_or_path = "gpt2_tiny"
    return model


def randomise(model: PeftModel, seed: int) -> None:
    """Moves everything that trains away from its start, so that nothing an adapter file holds is zero or unused."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def make(name: str, config: PeftConfig, seed: int, made_by: str = "lora", base_model=base_model,
         merges: bool = True, sharpen=lambda model64: None, vocab_size: int = 257, base: str = "gpt2_tiny") -> None:
    """Writes tests/fixtures/<name>, whose base is tests/fixtures/<base>. Without `merges`, peft's merge is wrong (it changes the tied head too), and the logits
    must stay as they are. `sharpen` redoes in float64 what peft computed in float32 while it loaded the adapter."""
    torch.manual_seed(seed)
    model = get_peft_model(base_model(), config).eval()
    randomise(model, seed)
    folder = clean_folder(FIXTURES / name)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()

    # From the file, as a user would: this proves that the file holds everything.
    loaded = PeftModel.from_pretrained(base_model(), folder, is_trainable=True).eval()
    ids, labels = random_batch(vocab_size, 2, 12, SEED)
    assert max_abs(model(input_ids=ids).logits, loaded(input_ids=ids).logits) == 0
    model64 = copy.deepcopy(loaded).double()
    sharpen(model64)
    logits, loss, gradients = loss_and_gradients(model64, ids, labels)
    trainable, total = loaded.get_nb_trainable_parameters()

    merged_logits = logits
    if merges:
        merged = copy.deepcopy(model64).merge_and_unload()
        with torch.no_grad():
            merged_logits = merged(input_ids=ids).logits
        assert max_abs(merged_logits, logits) < 1e-10
    generated = loaded.generate(input_ids=ids[:1, :5], attention_mask=torch.ones(1, 5, dtype=torch.long),
                                do_sample=False, max_new_tokens=10, eos_token_id=-1, pad_token_id=0)

    tensors = {"logits": logits, "merged.logits": merged_logits[:, -1:]}
    tensors |= {f"grad.{n}": g for n, g in gradients.items()}
    save_expected(folder, tensors, {
        "made_by": f"tests/oracle/{made_by}_fixture.py",
        "base": f"../../{base}",
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "loss": loss.item(),
        "named_parameters": [[n, p.requires_grad] for n, p in loaded.named_parameters()],
        "nb_trainable_parameters": [trainable, total],
        "adamw": {"lr": LEARNING_RATE, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8,
                  "losses": adamw_losses(copy.deepcopy(model64), ids, labels, lr=LEARNING_RATE),
                  "losses_float32": adamw_losses(copy.deepcopy(loaded), ids, labels, lr=LEARNING_RATE)},
        "greedy": generated.tolist(),
        "float32_error": float32_error(loaded, model64, ids, labels),
    })
    error = json.loads((folder / "expected.json").read_text())["float32_error"]
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {trainable} of {total} train, loss {loss.item():.6f}, {size} bytes, float32 error {error}")


def main() -> None:
    for i, (name, fields) in enumerate(CASES.items()):
        make(f"lora/{name}", LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **fields), SEED + i)


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
