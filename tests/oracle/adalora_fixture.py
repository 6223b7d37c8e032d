"""Makes tests/fixtures/adalora: a whole AdaLoRA training by peft in float64, from the adapter in start/ to that in final/.

Run: python tests/oracle/adalora_fixture.py
"""

import copy
import json
import os
import sys

import torch
from fixture import FIXTURES, clean_folder, forward_loss, random_batch
from lora_fixture import SEED, base_model, randomise
from peft import AdaLoraConfig, PeftModel, get_peft_model

STEPS = 15
LEARNING_RATE = 1e-2


def main() -> None:
    torch.manual_seed(SEED)
    config = AdaLoraConfig(init_r=4, target_r=2, lora_alpha=8, tinit=2, tfinal=3, deltaT=2, total_step=STEPS - 1,
                           beta1=0.8, beta2=0.9, orth_reg_weight=0.3, target_modules=["c_attn", "mlp.c_proj"],
                           task_type="CAUSAL_LM")
    model = get_peft_model(base_model(), config).eval()
    randomise(model, SEED)
    folder = clean_folder(FIXTURES / "adalora")
    model.save_pretrained(folder / "start")
    loaded = PeftModel.from_pretrained(base_model(), folder / "start", is_trainable=True).eval()
    model64 = copy.deepcopy(loaded).double()
    ids, labels = random_batch(257, 2, 12, SEED)
    optimizer = torch.optim.AdamW([p for p in model64.parameters() if p.requires_grad], lr=LEARNING_RATE,
                                  weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8)
    losses, patterns = [], []
    for step in range(STEPS):
        _, loss = forward_loss(model64, ids, labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        model64.base_model.update_and_allocate(step)
        pattern = model64.peft_config["default"].rank_pattern
        patterns.append(None if pattern is None else {
            name.removesuffix(".default"): "".join("01"[left] for left in mask) for name, mask in pattern.items()})
        optimizer.zero_grad()
    _, loss = forward_loss(model64, ids, labels)
    model64.float().save_pretrained(folder / "final")
    for path in folder.glob("*/README.md"):
        path.unlink()

    facts = {
        "made_by": "tests/oracle/adalora_fixture.py", "input_ids": ids.tolist(), "labels": labels.tolist(),
        "lr": LEARNING_RATE, "weight_decay": 0.01, "losses": losses, "last_loss": loss.item(), "patterns": patterns,
    }
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
    (folder / "expected.json").write_text("{\n" + lines + "\n}\n")
    print(losses, patterns[-1])


if __name__ == "__main__":
    # peft writes its sets in hash order: a fixed seed gives the same files every time.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    main()
