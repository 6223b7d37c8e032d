"""Random GPT-2 models, float64 losses, and fixture folders: what every fixture script here shares.

Numbers are computed in float64 from the float32 weights that are saved, so a fixture's error is that of its float32
rounding alone (relative 6e-8). Each script also measures what torch's own float32 run differs by, as `float32_error`
in `expected.json`: a floor for tolerances.
"""

import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
torch.set_num_threads(1)
logging.disable_progress_bar()
logging.set_verbosity_error()
torch.use_deterministic_algorithms(True)


def small_config(**fields) -> GPT2Config:
    """GPT-2 with 2 layers, 16 channels, 61 tokens: the base of the config and layout variants."""
    values = dict(vocab_size=61, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=60, eos_token_id=60,
                  resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return GPT2Config(**values | fields)


def random_gpt2(config: GPT2Config, seed: int) -> GPT2LMHeadModel:
    """Float32 GPT-2 in eval mode: every parameter N(0, 0.2), wte N(0, 0.1), layer norm weights 1 + N(0, 0.2).

    Ten times the usual 0.02, so that attention is not flat and every gradient is well above rounding; wte less, so
    that the loss stays near log V, where float32 has digits to spare.
    """
    config._attn_implementation = "eager"
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = torch.randn(parameter.shape, generator=generator) * (0.1 if "wte" in name else 0.2)
            if ".ln_" in name and name.endswith("weight"):
                value += 1
            parameter.copy_(value)
    return model


def random_batch(vocab_size: int, batch: int, length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, T] and labels [B, T]: the ids, with -100 at the start of row 0, the end of row 1, and here and there."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocab_size, (batch, length), generator=generator)
    labels = ids.clone()
    labels[torch.rand(ids.shape, generator=generator) < 0.1] = -100
    labels[0, : length // 7] = -100
    labels[-1, length - length // 6 :] = -100
    return ids, labels


def causal_lm_loss(logits: torch.Tensor, labels: torch.Tensor, num_items: int | None = None) -> torch.Tensor:
    """transformers' ForCausalLMLoss without its cast to float32, which would lose the float64 digits."""
    virtual = logits.shape[1] - labels.shape[1]  # positions of virtual tokens have no label
    labels = F.pad(labels, (virtual, 0), value=-100)
    flat, shifted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    if num_items is None:
        return F.cross_entropy(flat, shifted, ignore_index=-100)
    return F.cross_entropy(flat, shifted, ignore_index=-100, reduction="sum") / num_items


def forward_loss(model, ids, labels, **inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and loss; what AdaLoRA adds to the loss comes from peft itself."""
    if any(config.peft_type == "ADALORA" for config in getattr(model, "peft_config", {}).values()):
        model.get_base_model().loss_function = lambda logits, labels, **_: causal_lm_loss(logits, labels)
        output = model(input_ids=ids, labels=labels, **inputs)
        return output.logits, output.loss
    logits = model(input_ids=ids, **inputs).logits
    return logits, causal_lm_loss(logits, labels)


def loss_and_gradients(model, ids, labels, **inputs) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, loss, and the gradient of every parameter that trains, by its name."""
    model.zero_grad(set_to_none=True)
    logits, loss = forward_loss(model, ids, labels, **inputs)
    loss.backward()
    return logits.detach(), loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def adamw_losses(model, ids, labels, steps=10, lr=1e-3, weight_decay=0.01) -> list[float]:
    """Loss before each of `steps` steps of torch.optim.AdamW on one batch; the model is left trained."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        _, loss = forward_loss(model, ids, labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    return losses


def relative_l2(a: torch.Tensor, b: torch.Tensor) -> float:
    """||a - b|| / ||b||, 0 where both are 0."""
    difference, norm = (a.double() - b.double()).norm().item(), b.double().norm().item()
    return difference / norm if norm else difference


def max_abs(a, b) -> float:
    """Largest absolute difference of two tensors or two lists of numbers."""
    return (torch.as_tensor(a).double() - torch.as_tensor(b).double()).abs().max().item()


def float32_error(model32, model64, ids, labels) -> dict[str, float]:
    """What torch's float32 differs from float64 by on this batch: logits and loss absolute, gradients relative L2."""
    logits32, loss32, grads32 = loss_and_gradients(model32, ids, labels)
    logits64, loss64, grads64 = loss_and_gradients(model64, ids, labels)
    return {
        "logits": max_abs(logits32, logits64),
        "loss": abs(loss32.item() - loss64.item()),
        "gradients": max(relative_l2(grads32[n], grads64[n]) for n in grads64),
    }


def clean_folder(path: Path) -> Path:
    """An empty folder at `path`."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def save_expected(folder: Path, tensors: dict[str, torch.Tensor], facts: dict) -> None:
    """Writes expected.safetensors (float32) and expected.json (numbers with all their digits, ids, notes)."""
    rounded = {name: t.detach().to(torch.float32).contiguous() for name, t in tensors.items()}
    save_file(rounded, folder / "expected.safetensors")
    # One line a key: readable, and a tenth of the size of json's own indentation.
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
    (folder / "expected.json").write_text("{\n" + lines + "\n}\n")
