"""Makes tests/fixtures/demo/stop_beams.json: where transformers' beam search ends sequences at texts.

Run: python tests/oracle/stop_beams_fixture.py
"""

import json

import torch
from fixture import FIXTURES
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["Once upon a time there was a brave dog", "One day, a small bird and a happy cat found"]
CASES = [
    dict(stop_strings=["."], num_beams=3),
    dict(stop_strings=["the", "said"], num_beams=4),
    dict(stop_strings=["e w"], num_beams=2, length_penalty=-1.0),
    dict(stop_strings=[". "], num_beams=4, early_stopping=True),
    dict(stop_strings=["an", "xyz"], num_beams=3, length_penalty=2.0),
    dict(stop_strings=["dog na", "cat found"], num_beams=3),
    dict(stop_strings=["never said"], num_beams=2),
]

folder = FIXTURES.parents[1] / "examples" / "demo" / "model"
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.eos_token
tokenizer.padding_side = "left"
model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double().eval()
inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**inputs, num_beams=3, do_sample=False, max_new_tokens=24)))
results = []
for case in CASES:
    out = model.generate(**inputs, tokenizer=tokenizer, do_sample=False, max_new_tokens=24, pad_token_id=5, **case)
    print(case, [tokenizer.decode(row) for row in out])
    results.append({**case, "ids": out.tolist()})
lines = ",\n".join(f"  {json.dumps(result)}" for result in results)
(FIXTURES / "demo" / "stop_beams.json").write_text(
    f'{{"made_by": "tests/oracle/stop_beams_fixture.py",\n "texts": {json.dumps(TEXTS)},\n "cases": [\n{lines}\n]}}\n')
