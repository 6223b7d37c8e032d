"""Makes tests/fixtures/adapters: adapters for gpt2_tiny and what peft makes of several of them, in float64.

Run: python tests/oracle/adapters_fixture.py
"""

import dataclasses
import os
import sys
import warnings

import torch
from fixture import FIXTURES, clean_folder, random_batch, save_expected
from lora_fixture import base_model, randomise
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model

SEED = 11
TASK = dict(task_type="CAUSAL_LM")
BOTH = ["c_attn", "mlp.c_proj"]

ADAPTERS = {
    "first": LoraConfig(r=4, lora_alpha=8, target_modules=BOTH, **TASK),
    "second": LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=["c_attn", "c_fc"], **TASK),
    "third": LoraConfig(r=2, lora_alpha=6, target_modules=BOTH, **TASK),
    "ia3_first": IA3Config(**TASK),
    "ia3_second": IA3Config(**TASK),
}

# name: adapters, weights, options
WEIGHTED = {
    "cat": (["first", "third"], [0.7, -0.4], dict(combination_type="cat")),
    "cat_all": (["first", "second", "third"], [0.5, 0.8, 0.3], dict(combination_type="cat")),
    "linear": (["first", "second"], [1.5, -0.3], dict(combination_type="linear")),
    "one": (["third"], [-0.8], dict(combination_type="cat")),
    "svd": (["first", "third"], [0.7, 0.4], dict(combination_type="svd")),
    "svd_rank": (["first", "second", "third"], [0.6, -0.5, 0.9], dict(combination_type="svd", svd_rank=7)),
    "ties": (["first", "second"], [0.9, 0.6], dict(combination_type="ties", density=0.4)),
    "ties_frequency": (["first", "second"], [0.9, -0.6],
                       dict(combination_type="ties", density=0.5, majority_sign_method="frequency")),
    "dare_linear": (["first", "second"], [0.9, 0.6], dict(combination_type="dare_linear", density=1.0)),
    "dare_ties": (["first", "second"], [0.9, 0.6], dict(combination_type="dare_ties", density=1.0)),
    "magnitude_prune": (["first", "second"], [0.9, 0.6], dict(combination_type="magnitude_prune", density=0.3)),
    "ties_svd": (["first", "third"], [0.9, 0.6], dict(combination_type="ties_svd", density=0.4)),
    "dare_linear_svd": (["first", "third"], [0.9, 0.6], dict(combination_type="dare_linear_svd", density=1.0)),
    "dare_ties_svd": (["first", "third"], [0.9, 0.6],
                      dict(combination_type="dare_ties_svd", density=1.0, svd_rank=3)),
    "magnitude_prune_svd": (["first", "third"], [0.9, 0.6],
                            dict(combination_type="magnitude_prune_svd", density=0.3, svd_rank=6)),
    "ia3": (["ia3_first", "ia3_second"], [0.6, 0.5], {}),
}


def load(*names: str) -> PeftModel:
    """The saved adapters on the base, in float64, the first one active."""
    folder = FIXTURES / "adapters"
    model = PeftModel.from_pretrained(base_model(), folder / names[0], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(folder / name, name)
    return model.double().eval()


def last_logits(model, ids, **inputs) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids, **inputs).logits[:, -2:]


def statuses(ids) -> dict:
    """Layer 0 and model status in several states."""
    found = {}

    def note(state: str, model: PeftModel) -> None:
        layers = model.get_layer_status()
        found[state] = {"layer": dataclasses.asdict(layers[0]), "layers": [s.name for s in layers],
                        "model": dataclasses.asdict(model.get_model_status())}

    model = get_peft_model(base_model(), ADAPTERS["first"], "first")
    note("fresh", model)
    model.add_adapter("second", ADAPTERS["second"])
    note("two", model)
    model.base_model.set_adapter(["first", "second"])
    note("both active", model)
    model.base_model.merge_adapter(["second"])
    note("second merged", model)
    model.unmerge_adapter()
    model.base_model.disable_adapter_layers()
    note("disabled", model)
    model.base_model.enable_adapter_layers()
    model.base_model.model.transformer.h[0].attn.c_attn.lora_A["first"].weight.requires_grad_(False)
    note("irregular gradients", model)
    return found


def main() -> None:
    folder = clean_folder(FIXTURES / "adapters")
    for i, (name, config) in enumerate(ADAPTERS.items()):
        torch.manual_seed(SEED + i)
        model = get_peft_model(base_model(), config).eval()
        randomise(model, SEED + i)
        model.save_pretrained(folder / name)
        (folder / name / "README.md").unlink()
    ids, _ = random_batch(257, 2, 12, SEED)
    tensors, facts = {}, {}
    for name, (adapters, weights, options) in WEIGHTED.items():
        model = load(*adapters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.add_weighted_adapter(adapters, weights, "made", **options)
        model.set_adapter("made")
        tensors[f"{name}.logits"] = last_logits(model, ids)
        facts[name] = {"adapters": adapters, "weights": weights, "options": options}
        if "svd" not in name and name != "ia3":
            layer = model.base_model.model.transformer.h[1].attn.c_attn
            tensors[f"{name}.A"] = layer.lora_A["made"].weight
            tensors[f"{name}.B"] = layer.lora_B["made"].weight
        print(name, tensors[f"{name}.logits"].abs().max().item())
    mixed = load("first", "second", "third")
    names = ["third", "__base__"], ["second", "first"]
    for i, adapter_names in enumerate(names):
        tensors[f"mixed.{i}"] = last_logits(mixed, ids, adapter_names=list(adapter_names))
    save_expected(folder, tensors, {
        "made_by": "tests/oracle/adapters_fixture.py",
        "base": "../gpt2_tiny",
        "input_ids": ids.tolist(),
        "weighted": facts,
        "mixed": names,
        "status": statuses(ids),
    })


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
