"""Makes tests/fixtures/methods/<case>: adapters of other methods than plain LoRA, in the form of lora_fixture.py.

Run: python tests/oracle/peft_methods_fixture.py [case...]
"""

import os
import sys

import torch
from lora_fixture import SEED, base_model, make
from peft import (AdaLoraConfig, BOFTConfig, FourierFTConfig, IA3Config, LNTuningConfig, LoHaConfig, LoKrConfig,
                  LoraConfig, OFTConfig, VeraConfig)
from peft.tuners.boft import layer as boft_layer
from transformers import GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

TASK = dict(task_type="CAUSAL_LM")

CASES = {
    "ia3": IA3Config(**TASK),
    "ia3_all": IA3Config(target_modules=["c_attn", "c_fc", "mlp.c_proj"], feedforward_modules=["c_fc"], **TASK),
    "ln_tuning": LNTuningConfig(**TASK),
    "ln_tuning_some": LNTuningConfig(target_modules=["ln_2"], modules_to_save=["ln_f"], **TASK),
    "dora": LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn"], use_dora=True, **TASK),
    "dora_rslora": LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", use_dora=True, use_rslora=True, **TASK),
}

# Added later, each with a seed of its own, so that no fixture above changes.
MORE_CASES = {
    "adalora": (120, AdaLoraConfig(init_r=3, target_r=2, lora_alpha=6, total_step=20, orth_reg_weight=0.05, **TASK)),
    "adalora_some": (121, AdaLoraConfig(init_r=2, target_r=1, lora_alpha=4, total_step=20, orth_reg_weight=0.1, tinit=2,
                                        tfinal=3, deltaT=2, target_modules=["c_fc", "mlp.c_proj"], bias="lora_only",
                                        **TASK)),
    "vera": (122, VeraConfig(r=6, **TASK)),
    "vera_drawn": (123, VeraConfig(r=5, projection_prng_key=11, save_projection=False, d_initial=0.3, bias="vera_only",
                                   target_modules=["c_fc", "mlp.c_proj"], **TASK)),
    "fourierft": (124, FourierFTConfig(n_frequency=40, **TASK)),
    "fourierft_some": (125, FourierFTConfig(n_frequency=30, n_frequency_pattern={"c_fc": 12}, random_loc_seed=3,
                                            scaling=90.0, init_weights=True, target_modules=["c_attn", "c_fc"], **TASK)),
}

# peft takes no Conv1D here: its base has a Linear of the transposed weight in the place of each.
LINEAR_CASES = {
    "loha": (130, LoHaConfig(r=2, alpha=4, **TASK)),
    "loha_patterns": (131, LoHaConfig(r=2, alpha=4, target_modules=["c_fc", "attn.c_proj"], rank_pattern={"c_fc": 1},
                                      alpha_pattern={"attn.c_proj": 3}, **TASK)),
    "loha_high": (138, LoHaConfig(r=7, alpha=7, target_modules=["attn.c_proj"], layers_to_transform=[0, 2], **TASK)),
    "lokr": (132, LoKrConfig(r=2, alpha=4, decompose_both=True, **TASK)),
    "lokr_whole": (133, LoKrConfig(r=12, alpha=6, decompose_factor=3, target_modules=["attn.c_proj", "mlp.c_proj"], **TASK)),
    "oft": (134, OFTConfig(oft_block_size=8, **TASK)),
    "oft_exact": (135, OFTConfig(r=4, oft_block_size=0, use_cayley_neumann=False, block_share=True, bias="oft_only",
                                 target_modules=["c_fc"], **TASK)),
    "boft": (136, BOFTConfig(**TASK)),
    "boft_butterfly": (137, BOFTConfig(boft_block_size=0, boft_block_num=12, boft_n_butterfly_factor=3,
                                       target_modules=["attn.c_proj"], **TASK)),
}


def linear_base() -> GPT2LMHeadModel:
    """gpt2_tiny with torch.nn.Linear for each Conv1D."""
    model = base_model()
    for path, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            linear = torch.nn.Linear(*module.weight.shape)
            linear.weight.data, linear.bias.data = module.weight.data.T.contiguous(), module.bias.data
            model.set_submodule(path, linear)
    return model


class BlockDiagonal:
    """What peft's CUDA extension computes, without which it has one butterfly factor only."""

    @staticmethod
    def apply(blocks: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.block_diag(*factor) for factor in blocks])


def main() -> None:
    wanted = sys.argv[1:]

    def make_all(cases: dict, base) -> None:
        for name, (seed, config) in cases.items():
            if not wanted or name in wanted:
                make(f"methods/{name}", config, SEED + seed, "peft_methods", base)

    boft_layer.get_fbd_cuda = lambda: True
    boft_layer.FastBlockDiag = BlockDiagonal
    make_all({name: (100 + i, config) for i, (name, config) in enumerate(CASES.items())}, base_model)
    make_all(MORE_CASES, base_model)
    make_all(LINEAR_CASES, linear_base)
    if not wanted or "bitfit" in wanted:  # what BitFit is in peft's terms; our own tree has other names
        config = LoraConfig(r=1, lora_alpha=0, bias="all", target_modules=["transformer.h.0.attn.c_attn"], **TASK)
        make("bitfit", config, SEED + 140, "peft_methods")


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
