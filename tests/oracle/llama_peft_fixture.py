"""Makes tests/fixtures/llama_peft/<case>: adapters of every method on small models of Llama's family, in the form of
lora_fixture.py, and virtual tokens in that of prompt_fixture.py (cases that begin with prompt_).

The bases are tests/fixtures/llama/<base>; each case is `<base>.<method>`.

Run: python tests/oracle/llama_peft_fixture.py [case...]
"""

import os
import sys

from fixture import FIXTURES
from lora_fixture import SEED, make
from peft import (AdaLoraConfig, BOFTConfig, FourierFTConfig, IA3Config, LNTuningConfig, LoHaConfig, LoKrConfig,
                  LoraConfig, OFTConfig, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig,
                  TrainableTokensConfig, VeraConfig)
from prompt_fixture import make as make_prompt
from transformers import AutoModelForCausalLM

TASK = dict(task_type="CAUSAL_LM")

CASES = {
    "llama.lora": LoraConfig(r=4, lora_alpha=8, **TASK),
    "llama.lora_all_linear": LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", use_rslora=True, **TASK),
    "llama.lora_embeddings": LoraConfig(r=2, lora_alpha=4, target_modules=["embed_tokens", "v_proj"], **TASK),
    "llama.lora_head": LoraConfig(r=2, lora_alpha=4, target_modules=["lm_head", "embed_tokens", "down_proj"],
                                  exclude_modules=r".*layers\.1.*", **TASK),
    "llama.lora_saved": LoraConfig(r=2, lora_alpha=4, target_modules=["o_proj", "up_proj"], layers_to_transform=[1],
                                   modules_to_save=["norm"], **TASK),
    "llama.lora_tokens": LoraConfig(r=2, lora_alpha=4, trainable_token_indices=[57, 8, 60], **TASK),
    "llama.dora": LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", use_dora=True, **TASK),
    "llama.ia3": IA3Config(**TASK),
    "llama.ln_tuning": LNTuningConfig(**TASK),
    "llama.adalora": AdaLoraConfig(init_r=3, target_r=2, lora_alpha=6, total_step=20, orth_reg_weight=0.05, **TASK),
    "llama.vera": VeraConfig(r=6, target_modules=["q_proj", "o_proj"], **TASK),
    "llama.fourierft": FourierFTConfig(n_frequency=40, **TASK),
    "llama.loha": LoHaConfig(r=2, alpha=4, **TASK),
    "llama.lokr": LoKrConfig(r=2, alpha=4, decompose_both=True, target_modules=["k_proj", "gate_proj"], **TASK),
    "llama.oft": OFTConfig(oft_block_size=8, target_modules=["q_proj", "v_proj", "down_proj"], **TASK),
    "llama.boft": BOFTConfig(**TASK),
    "llama.trainable_tokens": TrainableTokensConfig(token_indices=[57, 8, 60], **TASK),
    "llama_tied_biases.lora_bias": LoraConfig(r=2, lora_alpha=4, bias="all", target_modules=["q_proj", "down_proj"], **TASK),
    "llama_tied_biases.ia3": IA3Config(**TASK),
    "llama_tied_biases.trainable_tokens": TrainableTokensConfig(token_indices=[57, 8, 60], **TASK),
    "mistral.ia3": IA3Config(**TASK),
    "mistral.lora": LoraConfig(r=2, lora_alpha=4, **TASK),
    "qwen2.lora_tokens": LoraConfig(r=2, lora_alpha=4, trainable_token_indices=[46, 3], **TASK),
    "qwen2.ln_tuning": LNTuningConfig(**TASK),
    "qwen3.lora": LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", **TASK),
    "qwen3.ia3": IA3Config(**TASK),
    "gemma3.lora": LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", **TASK),
    "gemma3.ln_tuning": LNTuningConfig(**TASK),
    "gemma3.ia3": IA3Config(**TASK),
    "smollm3.lora": LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "k_proj", "up_proj"], **TASK),
    # what BitFit is in peft's terms
    "qwen2.bitfit": LoraConfig(r=1, lora_alpha=0, bias="all", target_modules=["model.layers.0.self_attn.q_proj"], **TASK),
}

PROMPTS = {
    "llama.prompt_prefix": PrefixTuningConfig(num_virtual_tokens=5, **TASK),
    "llama.prompt_prefix_projection": PrefixTuningConfig(num_virtual_tokens=4, prefix_projection=True,
                                                         encoder_hidden_size=20, **TASK),
    "llama.prompt_tuning": PromptTuningConfig(num_virtual_tokens=5, **TASK),
    "llama.prompt_p_tuning": PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=24, **TASK),
    "qwen2.prompt_p_tuning_lstm": PromptEncoderConfig(num_virtual_tokens=5, encoder_hidden_size=10, encoder_num_layers=2,
                                                      encoder_reparameterization_type="LSTM", **TASK),
    "qwen3.prompt_prefix": PrefixTuningConfig(num_virtual_tokens=3, **TASK),
    "gemma3.prompt_prefix": PrefixTuningConfig(num_virtual_tokens=3, **TASK),
    "gemma3.prompt_tuning": PromptTuningConfig(num_virtual_tokens=5, **TASK),
}


def main() -> None:
    wanted = sys.argv[1:]
    for makes, cases, start in ((make, CASES, 700), (make_prompt, PROMPTS, 800)):
        for i, (case, config) in enumerate(cases.items()):
            base = case.split(".")[0]

            def base_model(base=base):
                model = AutoModelForCausalLM.from_pretrained(FIXTURES / "llama" / base, attn_implementation="eager").eval()
                # What adapter_config.json records as its base: no path of one machine.
                model.name_or_path = model.config._name_or_path = base
                return model

            if not wanted or case in wanted:
                makes(f"llama_peft/{case}", config, SEED + start + i, made_by="llama_peft", base_model=base_model,
                      vocab_size=61, base=f"llama/{base}")


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
