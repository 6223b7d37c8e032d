"""Makes tests/fixtures/prompt/<case>: virtual tokens saved by peft for gpt2_tiny, and what peft computes with them.

Python's files hold what the network behind the virtual tokens gives, and load frozen; so the trained parameters stand
in expected.safetensors as `param.<name>`.

Run: python tests/oracle/prompt_fixture.py
"""

import copy
import os
import sys

import torch
from fixture import (FIXTURES, adamw_losses, clean_folder, float32_error, loss_and_gradients, max_abs, random_batch,
                     save_expected)
from lora_fixture import LEARNING_RATE, SEED, base_model, randomise
from peft import PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

TASK = dict(task_type="CAUSAL_LM")

CASES = {
    "prefix": PrefixTuningConfig(num_virtual_tokens=5, **TASK),
    "prefix_projection": PrefixTuningConfig(num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=20, **TASK),
    "prompt": PromptTuningConfig(num_virtual_tokens=5, **TASK),
    "p_tuning": PromptEncoderConfig(num_virtual_tokens=4, encoder_hidden_size=24, **TASK),
    "p_tuning_lstm": PromptEncoderConfig(num_virtual_tokens=5, encoder_hidden_size=10, encoder_num_layers=2,
                                         encoder_reparameterization_type="LSTM", **TASK),
}


def make(name: str, config, seed: int, made_by: str = "prompt", base_model=base_model, vocab_size: int = 257,
         base: str = "gpt2_tiny") -> None:
    torch.manual_seed(seed)
    model = get_peft_model(base_model(), config).eval()
    randomise(model, seed)
    folder = clean_folder(FIXTURES / name)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    ids, labels = random_batch(vocab_size, 2, 12, SEED)
    loaded = PeftModel.from_pretrained(base_model(), folder).eval()
    with torch.no_grad():
        assert max_abs(model(input_ids=ids).logits, loaded(input_ids=ids).logits) < 1e-5
    model64 = copy.deepcopy(model).double()
    logits, loss, gradients = loss_and_gradients(model64, ids, labels)
    trainable, total = model.get_nb_trainable_parameters()
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 9:] = 0
    with torch.no_grad():
        padded = model64(input_ids=ids, attention_mask=mask).logits
    generated = model.generate(input_ids=ids[:1, :5], attention_mask=torch.ones(1, 5, dtype=torch.long),
                               do_sample=False, max_new_tokens=10, eos_token_id=-1, pad_token_id=0)
    # A window counts places, padding too, so that padding moves a prefix away: other tokens are right then.
    more = {}
    if config.peft_type == "PREFIX_TUNING" and getattr(model.config, "sliding_window", None):
        left = torch.cat([torch.zeros(1, 2, dtype=torch.long), ids[:1, :5]], dim=1)
        left_mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1]])
        more["padded_greedy"] = model.generate(input_ids=left, attention_mask=left_mask, do_sample=False,
                                               max_new_tokens=10, eos_token_id=-1, pad_token_id=0)[:, 2:].tolist()
    tensors = {"logits": logits, "padded.logits": padded[1:, : padded.shape[1] - 3]}
    tensors |= {f"grad.{n}": g for n, g in gradients.items()}
    tensors |= {f"param.{n}": p.detach() for n, p in model.named_parameters() if p.requires_grad}
    save_expected(folder, tensors, {
        "made_by": f"tests/oracle/{made_by}_fixture.py",
        "base": f"../../{base}",
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "padded_mask": mask.tolist(),
        "loss": loss.item(),
        "named_parameters": [[n, p.requires_grad] for n, p in model.named_parameters()],
        "nb_trainable_parameters": [trainable, total],
        "adamw": {"lr": LEARNING_RATE, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8,
                  "losses": adamw_losses(copy.deepcopy(model64), ids, labels, lr=LEARNING_RATE),
                  "losses_float32": adamw_losses(copy.deepcopy(model), ids, labels, lr=LEARNING_RATE)},
        "greedy": generated.tolist(),
        **more,
        "float32_error": float32_error(model, model64, ids, labels),
    })
    print(f"{name}: {trainable} of {total} train, loss {loss.item():.6f}")


def main() -> None:
    for i, (name, config) in enumerate(CASES.items()):
        make(f"prompt/{name}", config, SEED + 200 + i)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
