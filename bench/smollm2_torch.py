"""PyTorch's side of smollm2_bench.ts on the CPU, float32: python bench/smollm2_torch.py FOLDER [threads]"""

import statistics
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
start = time.time()
model = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32
).eval()
print(f"load {time.time() - start:.1f} s")
prompt = torch.arange(8)[None] * 37 + 5
options = dict(attention_mask=torch.ones_like(prompt), do_sample=False, eos_token_id=None, pad_token_id=2)
with torch.no_grad():
    model.generate(prompt, max_new_tokens=4, **options)
    start = time.time()
    model.generate(prompt, max_new_tokens=1, **options)
    first = time.time() - start
    start = time.time()
    model.generate(prompt, max_new_tokens=25, **options)
    print(f"first token {1000 * first:.0f} ms, {24 / (time.time() - start - first):.1f} tokens/s")
peft_model = get_peft_model(model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")).train()
trained = [p for p in peft_model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
for length in (64, 256):
    ids = (torch.arange(length)[None] * 7919 + 13) % 40000
    times = []
    for _ in range(5):
        start = time.time()
        loss = peft_model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        times.append(time.time() - start)
    print(f"step 1 x {length}: {1000 * statistics.median(times[2:]):.0f} ms")
