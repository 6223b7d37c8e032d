"""Makes tests/fixtures/gpt2_variants/<case>: small GPT-2s that differ in one config field, with float64 expectations.

Run: python tests/oracle/gpt2_variants_fixture.py
"""

import copy

from fixture import (FIXTURES, clean_folder, float32_error, loss_and_gradients, random_batch, random_gpt2,
                     save_expected, small_config)

SEED = 100

# Every config field that changes numbers; the last case combines several.
CASES = {
    "n_inner": dict(n_inner=72),
    "relu": dict(activation_function="relu"),
    "gelu": dict(activation_function="gelu"),
    "silu": dict(activation_function="silu"),
    "gelu_pytorch_tanh": dict(activation_function="gelu_pytorch_tanh"),
    "tanh": dict(activation_function="tanh"),
    "quick_gelu": dict(activation_function="quick_gelu"),
    "layer_norm_epsilon": dict(layer_norm_epsilon=0.1),
    "scale_attn_weights_false": dict(scale_attn_weights=False),
    "scale_attn_by_inverse_layer_idx": dict(scale_attn_by_inverse_layer_idx=True),
    "untied": dict(tie_word_embeddings=False),
    "combined": dict(n_inner=40, activation_function="relu", layer_norm_epsilon=0.01, n_head=4,
                     scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
}
GRADIENTS = ["transformer.wte.weight", "transformer.h.0.attn.c_attn.bias", "transformer.h.0.mlp.c_fc.bias",
             "transformer.h.1.attn.c_attn.bias", "transformer.h.1.mlp.c_proj.bias", "transformer.h.0.ln_1.weight",
             "transformer.ln_f.bias", "lm_head.weight"]


def main() -> None:
    for i, (name, fields) in enumerate(CASES.items()):
        config = small_config(**fields)
        model = random_gpt2(config, SEED + i)
        folder = clean_folder(FIXTURES / "gpt2_variants" / name)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink()
        model64 = copy.deepcopy(model).double()
        ids, labels = random_batch(config.vocab_size, 2, 13, SEED + i)
        logits, loss, gradients = loss_and_gradients(model64, ids, labels)
        tensors = {"logits": logits} | {f"grad.{n}": gradients[n] for n in GRADIENTS if n in gradients}
        error = float32_error(model, model64, ids, labels)
        save_expected(folder, tensors, {
            "made_by": "tests/oracle/gpt2_variants_fixture.py",
            "config": fields,
            "input_ids": ids.tolist(),
            "labels": labels.tolist(),
            "loss": loss.item(),
            "float32_error": error,
        })
        print(name, loss.item(), error)


if __name__ == "__main__":
    main()
