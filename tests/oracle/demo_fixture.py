"""Makes tests/fixtures/demo/expected.json: what transformers computes with the model that ships with the demo.

Run: python tests/oracle/demo_fixture.py
"""

import json

import torch
from fixture import FIXTURES
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["Once upon a time there was a brave dog", "Ahoy, mateys! Hear the tale of Captain Pip, a happy owl"]

folder = FIXTURES.parents[1] / "examples" / "demo" / "model"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double().eval()
cases = []
for text in TEXTS:
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
    cases.append({"text": text, "ids": ids[0].tolist(), "logits": [round(v, 9) for v in logits.tolist()]})
target = FIXTURES / "demo" / "expected.json"
target.parent.mkdir(exist_ok=True)
target.write_text(json.dumps({"made_by": "tests/oracle/demo_fixture.py", "cases": cases}) + "\n")
print(target, [c["ids"] for c in cases])
