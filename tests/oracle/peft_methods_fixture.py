"""Makes tests/fixtures/methods/<case>: adapters of other methods than plain LoRA, in the form of lora_fixture.py.

Run: python tests/oracle/peft_methods_fixture.py
"""

import os
import sys

from lora_fixture import SEED, make
from peft import IA3Config, LNTuningConfig, LoraConfig

TASK = dict(task_type="CAUSAL_LM")

CASES = {
    "ia3": IA3Config(**TASK),
    "ia3_all": IA3Config(target_modules=["c_attn", "c_fc", "mlp.c_proj"], feedforward_modules=["c_fc"], **TASK),
    "ln_tuning": LNTuningConfig(**TASK),
    "ln_tuning_some": LNTuningConfig(target_modules=["ln_2"], modules_to_save=["ln_f"], **TASK),
    "dora": LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn"], use_dora=True, **TASK),
    "dora_rslora": LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", use_dora=True, use_rslora=True, **TASK),
}


def main() -> None:
    for i, (name, config) in enumerate(CASES.items()):
        make(f"methods/{name}", config, SEED + 100 + i, "peft_methods")


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
