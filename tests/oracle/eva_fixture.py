"""Makes tests/fixtures/eva/<case>.json: what peft's EVA initialisation gives on gpt2_tiny or a model of Llama's family,
and the exact principal components of the layers' inputs in float64, which peft finds with random projections.

Run: python tests/oracle/eva_fixture.py [case ...]
"""

import json
import sys

import torch
from fixture import FIXTURES, random_batch
from lora_fixture import base_model
from peft import EvaConfig, LoraConfig, get_peft_model
from peft.tuners.lora.eva import initialize_lora_eva_weights
from transformers import AutoModelForCausalLM

CASES = {
    "plain": (dict(r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"]), {}),
    "whitened": (dict(r=3, lora_alpha=6, target_modules=["c_attn", "mlp.c_proj"], use_rslora=True),
                 dict(whiten=True, rho=1.5, adjust_scaling_factors=False)),
    "llama": (dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"]), {}),
}
BASES = {"llama": "llama/llama"}  # of cases that are not on gpt2_tiny


def base_of(name: str):
    if name not in BASES:
        return base_model()
    return AutoModelForCausalLM.from_pretrained(FIXTURES / BASES[name], attn_implementation="eager").eval()


def make(name: str, fields: dict, eva: dict) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights="eva", eva_config=EvaConfig(**eva), **fields)
    ids, labels = random_batch(base_of(name).config.vocab_size, 4, 24, 11)
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}

    base = base_of(name).double()
    keep = (mask.bool() & (labels != -100)).flatten()
    inputs = {}
    hooks = [module.register_forward_hook(lambda _, args, __, key=key: inputs.update({key: args[0].flatten(0, 1)[keep]}))
             for key, module in base.named_modules() if any(key.endswith("." + t) for t in fields["target_modules"])]
    with torch.no_grad():
        base(input_ids=ids, attention_mask=mask)
    exact = {}
    for key, x in inputs.items():
        _, s, vh = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        exact[key] = {"ratios": (s**2 / (s**2).sum())[:8].tolist(), "components": vh[:6].tolist(), "values": s[:6].tolist()}

    torch.manual_seed(0)
    model = get_peft_model(base_of(name), config)
    initialize_lora_eva_weights(model, [batch], show_progress_bar=False)
    made = model.peft_config["default"]
    names = [n for n, p in model.named_parameters() if "lora_A" in n]
    (FIXTURES / "eva").mkdir(exist_ok=True)
    (FIXTURES / "eva" / f"{name}.json").write_text(json.dumps({
        "made_by": "tests/oracle/eva_fixture.py", "fields": fields, "eva": eva, "input_ids": ids.tolist(),
        "attention_mask": mask.tolist(), "labels": labels.tolist(), "exact": exact,
        "target_modules": sorted(made.target_modules), "rank_pattern": made.rank_pattern,
        "alpha_pattern": made.alpha_pattern,
        "scaling": {n.removeprefix("base_model.model."): m.scaling["default"] for n, m in model.named_modules()
                    if "default" in getattr(m, "lora_A", {})},
        "lora_A": {n: p.tolist() for n, p in model.named_parameters() if n in names}}) + "\n")
    print(name, made.rank_pattern, made.alpha_pattern)


def main() -> None:
    for name, (fields, eva) in CASES.items():
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, fields, eva)


if __name__ == "__main__":
    main()
