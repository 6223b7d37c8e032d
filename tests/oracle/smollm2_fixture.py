"""Makes tests/fixtures/smollm2/expected.json: the real model, by transformers and peft in float32 on the numbers that the
GGUF file holds.

- six chat prompts: ids, logits of every 97th token, 40 greedy tokens
- the losses of ten AdamW steps of a LoRA (r = 8 on q_proj and v_proj) whose A are sines

Run: python tests/oracle/smollm2_fixture.py FOLDER, the folder of SmolLM2-135M-Instruct.Q4_1.gguf
"""

import json
import sys

import torch
from fixture import FIXTURES
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTIONS = [
    "What is the capital of France?", "Write one sentence about the sea.", "How many legs has a spider?",
    "Translate 'good morning' to French.", "List three colors.", "Who wrote Hamlet?",
]
TEXT = (
    "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote down the weather. One night a small "
    "boat came out of the fog. He called to it, and a girl answered that she had rowed since noon, that she was looking "
    "for her brother, and that she was not afraid of the dark."
)

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()
prompts = []
for question in QUESTIONS:
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
        row = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=2
        )[0]
    prompts.append({
        "question": question,
        "ids": ids[0].tolist(),
        "logits": [float(f"{value:.7g}") for value in logits[::97].tolist()],
        "greedy": row[ids.shape[1]:].tolist(),
    })

ids = tokenizer(TEXT, return_tensors="pt")["input_ids"][:, :64]
assert ids.shape[1] == 64
config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
peft_model = get_peft_model(model, config).train()
trained = [(name, p) for name, p in peft_model.named_parameters() if p.requires_grad]
with torch.no_grad():
    for number, (name, parameter) in enumerate(trained):
        if "lora_A" in name:
            steps = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.05 * torch.sin(1.7 * steps + number)).float().reshape(parameter.shape))
optimizer = torch.optim.AdamW([p for _, p in trained], lr=1e-3, weight_decay=0.0)
losses = []
for _ in range(10):
    loss = peft_model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
out = FIXTURES / "smollm2"
out.mkdir(exist_ok=True)
(out / "expected.json").write_text(json.dumps({"prompts": prompts, "lora": {"ids": ids[0].tolist(), "losses": losses}}) + "\n")
print(losses)
