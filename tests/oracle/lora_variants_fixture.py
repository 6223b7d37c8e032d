"""Makes tests/fixtures/lora_variants/<case>: LoRA beyond plain linear layers, in the form of lora_fixture.py.

Run: python tests/oracle/lora_variants_fixture.py [case...]
"""

import os
import sys

import torch
from lora_fixture import SEED, base_model, make
from peft import LoraConfig, TrainableTokensConfig
from peft.tuners.lora import LoraLayer

CASES = {
    "bias": dict(target_modules=["c_attn", "c_fc"], lora_bias=True),
    "embeddings": dict(target_modules=["wte", "wpe", "c_attn"]),
    "dora_embedding": dict(target_modules=["wte", "mlp.c_proj"], use_dora=True),
    "tokens": dict(target_modules=["c_attn"], trainable_token_indices=[200, 3, 4, 11]),
    "tokens_by_module": dict(target_modules=["mlp.c_proj"], trainable_token_indices={"wpe": [0, 7], "wte": [5, 42]}),
    "lm_head": dict(target_modules=["c_attn", "lm_head"]),
    # rank 3: where the singular values of these weights are farthest apart, so that float32 finds their vectors
    "pissa": dict(r=3, target_modules=["c_attn", "c_fc"], init_lora_weights="pissa"),
    "pissa_dora": dict(r=3, target_modules=["c_attn"], init_lora_weights="pissa", use_dora=True),
}

# peft merges these into the weight that embedding and head share, which changes both.
TIED = ("wte", "lm_head")


def pissa_in_float64(model64) -> None:
    """peft takes the singular values of the float32 weight in float32, which leaves errors of 1e-5 where values are near
    each other; here the same in float64."""
    base = dict(base_model().named_modules())
    for name, layer in model64.named_modules():
        if isinstance(layer, LoraLayer):
            weight = base[name.removeprefix("base_model.model.")].weight.double()
            u, s, vh = torch.linalg.svd(weight, full_matrices=False)
            rank = layer.r["default"]
            layer.base_layer.weight.data = weight - (u[:, :rank] * s[:rank]) @ vh[:rank]


def main() -> None:
    if len(sys.argv) == 1 or "only_tokens" in sys.argv:
        config = TrainableTokensConfig(token_indices=[200, 3, 4, 11], task_type="CAUSAL_LM")
        make("lora_variants/only_tokens", config, SEED + 300, "lora_variants")
    for i, (name, fields) in enumerate(CASES.items()):
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        config = LoraConfig(**dict(r=2, lora_alpha=4, task_type="CAUSAL_LM", lora_dropout=0.0) | fields)
        merges = not any(target in TIED for target in fields["target_modules"])
        make(f"lora_variants/{name}", config, SEED + 200 + i, "lora_variants", merges=merges,
             sharpen=pissa_in_float64 if name.startswith("pissa") else lambda model64: None)


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
