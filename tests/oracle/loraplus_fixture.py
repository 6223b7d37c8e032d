"""Makes tests/fixtures/loraplus/expected.json: losses of peft's LoRA+ optimizer on adapters of lora_variants, in float64.

Run: python tests/oracle/loraplus_fixture.py
"""

import json

import torch
from fixture import FIXTURES, causal_lm_loss, random_batch
from lora_fixture import SEED, base_model
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer

OPTIONS = dict(lr=2e-3, loraplus_lr_ratio=8.0, loraplus_weight_decay=0.1, loraplus_lr_embedding=1e-4)


def losses(case: str, options: dict) -> list[float]:
    model = PeftModel.from_pretrained(base_model(), FIXTURES / case, is_trainable=True).eval().double()
    optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, **options)
    ids, labels = random_batch(257, 2, 12, SEED)
    found = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = causal_lm_loss(model(input_ids=ids).logits, labels)
        found.append(loss.item())
        loss.backward()
        optimizer.step()
    return found


def main() -> None:
    ids, labels = random_batch(257, 2, 12, SEED)
    cases = {case: losses(case, OPTIONS) for case in
             ("lora_variants/embeddings", "lora_variants/bias", "lora/modules_to_save", "methods/dora")}
    defaults = losses("lora_variants/embeddings", dict(lr=2e-3, loraplus_lr_ratio=4.0))
    (FIXTURES / "loraplus").mkdir(exist_ok=True)
    (FIXTURES / "loraplus" / "expected.json").write_text(json.dumps({
        "made_by": "tests/oracle/loraplus_fixture.py", "options": OPTIONS, "cases": cases, "defaults": defaults,
        "input_ids": ids.tolist(), "labels": labels.tolist()}) + "\n")
    print(cases, defaults)


if __name__ == "__main__":
    main()
