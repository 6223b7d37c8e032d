"""PyTorch eager float32 (no TF32), peft and transformers: the yardstick of bench/h200/run.sh, as JSON lines.

Run: python bench/h200/torch_side.py [--tiny]
"""

import json
import statistics
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

TINY = "--tiny" in sys.argv
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
SIDE = 128 if TINY else 4096
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.manual_seed(1)


def wait():
    if CUDA:
        torch.cuda.synchronize()


def figure(name, **values):
    print(json.dumps({"name": name, "side": "torch", **values}), flush=True)


def config():
    sizes = dict(n_layer=2, n_embd=128, n_head=4, vocab_size=512, n_positions=64, bos_token_id=0, eos_token_id=0)
    return GPT2Config(**(sizes if TINY else {}), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


def matmul():
    a, b = (torch.randn(SIDE, SIDE, device=DEVICE) for _ in range(2))
    times = []
    for _ in range(12):
        wait()
        start = time.perf_counter()
        for _ in range(10):
            a @ b
        wait()
        times.append((time.perf_counter() - start) / 10)
    figure("matmul", gflops=2 * SIDE**3 / statistics.median(times[2:]) / 1e9)


def lora_step(batch, length):
    name = f"lora {batch}x{length}"
    if TINY:
        batch, length = min(batch, 2), 32
    settings = LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = get_peft_model(GPT2LMHeadModel(config()).to(DEVICE), settings).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    vocab = model.config.vocab_size
    rows = [[(b * 7919 + t * t * 31 + t) % vocab for t in range(length)] for b in range(batch)]
    times, losses = [], []
    for _ in range(20):
        wait()
        start = time.perf_counter()
        ids = torch.tensor(rows, device=DEVICE)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[3:])
    peak = torch.cuda.max_memory_allocated() if CUDA else 0
    figure(name, tokensPerSecond=batch * length / seconds, ms=1000 * seconds, peakBytes=peak,
           firstLoss=losses[0], lastLoss=losses[-1])


@torch.no_grad()
def decode():
    model = GPT2LMHeadModel(config()).to(DEVICE).eval()
    vocab = model.config.vocab_size
    ids = torch.tensor([[(t * t * 31 + t) % vocab for t in range(8)]], device=DEVICE)
    tokens = 8 if TINY else 128

    def run(count):
        wait()
        start = time.perf_counter()
        model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)
        wait()
        return time.perf_counter() - start

    run(tokens)
    first = statistics.median(run(1) for _ in range(5))
    whole = statistics.median(run(tokens) for _ in range(5))
    figure("greedy decode", tokensPerSecond=(tokens - 1) / (whole - first))


if not CUDA:
    torch.set_num_threads(1)
figure("adapter", adapter=torch.cuda.get_device_name() if CUDA else "cpu", torch=torch.__version__)
matmul()
lora_step(8, 1024)
lora_step(1, 128)
decode()
