"""Makes tests/fixtures/bnb: small models saved in float32, and as bitsandbytes quantises them, with what they compute.

- llama, gpt2: float32, the models that are quantised
- <model>.<format> with nf4, nf4_double, fp4, fp4_double (of llama), int8: saved by transformers, and
  expected.json: logits; loss, gradients and ten AdamW losses of peft's LoRA over it

Run: python tests/oracle/bnb_fixture.py
"""

import json
import shutil

import torch
from fixture import FIXTURES
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

torch.use_deterministic_algorithms(False)
folder = FIXTURES / "bnb"
VOCABULARY = 61
IDS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 58, 9], [2, 7, 18, 28, 18, 28, 45, 9, 0, 45, 23, 60]]


def rounded(tensor: torch.Tensor) -> list[float]:
    return [float(f"{value:.8g}") for value in tensor.detach().float().flatten().tolist()]


def base(name: str):
    torch.manual_seed(11)
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.15, tie_word_embeddings=False,
            bos_token_id=0, eos_token_id=0))
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=64, n_layer=1, n_head=4, n_inner=128, initializer_range=0.15,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0))


QUANTIZED = {
    "nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "nf4_double": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "fp4": dict(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "fp4_double": dict(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True),
    "int8": dict(load_in_8bit=True),
}
TARGETS = {"llama": ["q_proj", "v_proj", "down_proj"], "gpt2": ["c_attn", "c_fc"]}


def make(name: str, kind: str) -> None:
    options = QUANTIZED[kind]
    if "load_in_4bit" in options:
        options = options | dict(bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(
        folder / name, dtype=torch.float32, device_map="cpu", attn_implementation="eager",
        quantization_config=BitsAndBytesConfig(**options)).train()  # in eval mode bitsandbytes repacks weights for the CPU
    target = folder / f"{name}.{kind}"
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)
    with torch.no_grad():
        logits = model(torch.tensor(IDS)).logits
    lora = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS[name], task_type="CAUSAL_LM")).train()
    trained = [(path, p) for path, p in lora.named_parameters() if p.requires_grad]
    for number, (_, parameter) in enumerate(trained):
        values = 0.1 * torch.sin(1.7 * torch.arange(parameter.numel(), dtype=torch.float64) + number)
        parameter.data.copy_(values.float().reshape(parameter.shape))
    labels = torch.tensor(IDS)
    loss = lora(input_ids=labels, labels=labels).loss
    loss.backward()
    gradients = {path: rounded(parameter.grad) for path, parameter in trained}
    optimizer = torch.optim.AdamW([p for _, p in trained], lr=1e-3, weight_decay=0.0)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = lora(input_ids=labels, labels=labels).loss
        losses.append(float(loss))
        loss.backward()
        optimizer.step()
    data = {"made_by": "tests/oracle/bnb_fixture.py", "ids": IDS, "targets": TARGETS[name], "logits": rounded(logits),
            "gradients": gradients, "losses": losses}
    (target / "expected.json").write_text(json.dumps(data) + "\n")


for name in TARGETS:
    shutil.rmtree(folder / name, ignore_errors=True)
    base(name).save_pretrained(folder / name)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    for kind in QUANTIZED:
        if (name, kind) != ("gpt2", "fp4_double"):
            make(name, kind)
print({str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()})
