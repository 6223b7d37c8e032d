"""Makes tests/fixtures/targets/expected.json: the modules of gpt2_tiny that peft adapts for a table of configurations.

Run: python tests/oracle/targets_fixture.py
"""

import json

from fixture import FIXTURES, clean_folder
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import constants
from transformers import GPT2LMHeadModel

CASES = [
    dict(target_modules=["c_attn"]),
    dict(target_modules=None),
    dict(target_modules=["attn.c_proj"]),
    dict(target_modules=["c_proj"]),
    dict(target_modules=["mlp.c_proj", "c_fc"]),
    dict(target_modules=["transformer.h.1.attn.c_attn"]),
    dict(target_modules=["h.1.attn.c_attn", "transformer.h.2.mlp.c_fc"]),
    dict(target_modules=["_attn"]),
    dict(target_modules=["attn"]),
    dict(target_modules=["nope"]),
    dict(target_modules=["lm_head"]),
    dict(target_modules="all-linear"),
    dict(target_modules="ALL-LINEAR"),
    dict(target_modules="all-linear", exclude_modules=["c_attn"]),
    dict(target_modules="all-linear", exclude_modules=r".*mlp.*"),
    dict(target_modules=r".*c_attn"),
    dict(target_modules=r"c_attn"),
    dict(target_modules=r"transformer\.h\.[01]\.(attn|mlp)\.c_proj"),
    dict(target_modules=r".*\.h\.\d\.attn\.c_\w+"),
    dict(target_modules=["c_attn", "c_proj"], exclude_modules=["attn.c_proj"]),
    dict(target_modules=["c_proj"], exclude_modules=["h.0.attn.c_proj", "transformer.h.2.mlp.c_proj"]),
    dict(target_modules=["c_proj"], exclude_modules=r".*\.h\.0\..*"),
    dict(target_modules=["c_attn"], exclude_modules=["c_attn"]),
    dict(target_modules=["c_attn"], layers_to_transform=[1]),
    dict(target_modules=["c_attn"], layers_to_transform=2),
    dict(target_modules=["c_attn", "c_fc"], layers_to_transform=[0, 2], layers_pattern="h"),
    dict(target_modules=["c_attn"], layers_to_transform=[0], layers_pattern=["h", "layers"]),
    dict(target_modules=["c_attn"], layers_to_transform=[0], layers_pattern="layers"),
    dict(target_modules=["transformer.h.0.attn.c_attn", "c_fc"], layers_to_transform=[1]),
    dict(target_modules=["c_attn"], layers_to_transform=[7]),
    dict(target_modules=["c_attn", "c_fc"], modules_to_save=["ln_f"]),
    dict(target_modules=["c_attn", "c_proj"], modules_to_save=["mlp"]),
]


METHODS = {"adalora": "ADALORA_TARGET", "boft": "BOFT_TARGET", "feedforward": "IA3_FEEDFORWARD", "fourierft": "FOURIERFT_TARGET",
           "ia3": "IA3_TARGET", "ln_tuning": "LNTUNING_TARGET", "loha": "LOHA_TARGET", "lokr": "LOKR_TARGET",
           "lora": "LORA_TARGET", "oft": "OFT_TARGET", "vera": "VERA_TARGET"}
MODEL_TYPES = ["gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "smollm3"]


def write_defaults() -> None:
    """peft's tables of default targets: by method, then by model type; null where the user must name them."""
    lines = []
    for method, table in METHODS.items():
        targets = getattr(constants, f"TRANSFORMERS_MODELS_TO_{table}_MODULES_MAPPING")
        lines.append(f"  {json.dumps(method)}: {json.dumps({name: targets.get(name) for name in MODEL_TYPES})}")
    (FIXTURES / "targets" / "defaults.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    results = []
    for fields in CASES:
        model = GPT2LMHeadModel.from_pretrained(FIXTURES / "gpt2_tiny")
        try:
            peft_model = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", **fields))
        except ValueError as error:
            results.append({"config": fields, "error": type(error).__name__})
            continue
        names = [name for name, module in peft_model.base_model.model.named_modules() if isinstance(module, LoraLayer)]
        results.append({"config": fields, "modules": names})
    folder = clean_folder(FIXTURES / "targets")
    text = ",\n".join("  " + json.dumps(result) for result in results)
    (folder / "expected.json").write_text('{"made_by": "tests/oracle/targets_fixture.py", "cases": [\n' + text + "\n]}\n")
    write_defaults()
    print(f"{len(results)} cases, {sum('error' in r for r in results)} errors")


if __name__ == "__main__":
    main()
