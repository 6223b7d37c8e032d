"""Makes tests/fixtures/mixed: LoRA and AdaLoRA together on gpt2_tiny, as peft's PeftMixedModel computes them in float64.

peft takes no other pair on GPT-2's Conv1D, and saves no mixed model: the parameters stand in expected.safetensors as
`param.<adapter>.<module>.<key on disk>`.

Run: python tests/oracle/mixed_fixture.py
"""

import copy

import torch
from fixture import FIXTURES, clean_folder, loss_and_gradients, random_batch, save_expected
from lora_fixture import SEED, base_model, randomise
from peft import AdaLoraConfig, LoraConfig, get_peft_model

LORA = dict(r=3, lora_alpha=6, target_modules=["c_attn", "c_fc"])
ADALORA = dict(init_r=4, target_r=2, lora_alpha=8, total_step=10, target_modules=["c_attn"])


def place(name: str) -> str:
    """`param.<adapter>.<module>.<key>` of a parameter's name, whose layers are nested in each other."""
    path = name.replace("base_model.model.", "").replace(".base_layer", "")
    module, _, key = path.partition(".lora_")
    part, adapter, *rest = key.split(".")
    return f"{adapter}.{module}.lora_{'.'.join([part, *rest])}"


def main() -> None:
    torch.manual_seed(SEED + 300)
    model = get_peft_model(base_model(), LoraConfig(**LORA), adapter_name="one", mixed=True)
    model.add_adapter("two", AdaLoraConfig(**ADALORA))
    model.set_adapter(["one", "two"])
    model.eval()
    randomise(model, SEED + 300)
    ids, labels = random_batch(257, 2, 12, SEED)
    model64 = copy.deepcopy(model).double()
    model64.get_base_model = lambda: model64.base_model.model  # which PeftMixedModel lacks
    logits, loss, gradients = loss_and_gradients(model64, ids, labels)
    alone = {}
    for name in ["one", "two"]:
        model64.set_adapter(name)
        with torch.no_grad():
            alone[f"{name}.logits"] = model64(input_ids=ids).logits[:, -1:]
    model64.set_adapter(["one", "two"])
    merged = model64.merge_and_unload()
    with torch.no_grad():
        assert (merged(input_ids=ids).logits - logits).abs().max() < 1e-10
    tensors = {"logits": logits} | alone
    tensors |= {f"grad.{place(n)}": g for n, g in gradients.items()}
    tensors |= {f"param.{place(n)}": p.detach() for n, p in model.named_parameters() if p.requires_grad}
    assert len(tensors) == 3 + 2 * len(gradients)
    save_expected(clean_folder(FIXTURES / "mixed"), tensors, {
        "made_by": "tests/oracle/mixed_fixture.py",
        "base": "../gpt2_tiny",
        "lora": LORA,
        "adalora": ADALORA,
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "loss": loss.item(),
        "trainable": model.get_nb_trainable_parameters()[0],
    })
    print(f"mixed: loss {loss.item():.6f}, {len(gradients)} gradients")


if __name__ == "__main__":
    main()
