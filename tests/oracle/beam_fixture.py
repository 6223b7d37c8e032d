"""Makes tests/fixtures/gpt2_tiny/beams.json: what transformers' beam search gives for gpt2_tiny.

Run: python tests/oracle/beam_fixture.py
"""

import json

import torch
from fixture import FIXTURES
from transformers import GPT2LMHeadModel

PROMPTS = [[5, 17, 200, 3, 99], [1, 2, 3, 5, 8]]
PADDED = [[0, 0, 17, 200, 3], [1, 2, 3, 5, 8]]
MASK = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
PAD = 256  # not 0, which transformers takes for none and fills up with the first end token
CASES = [
    dict(num_beams=2),
    dict(num_beams=4, eos_token_id=[30, 41, 250, 7], early_stopping=True),
    dict(num_beams=3, eos_token_id=[30, 41, 250, 7, 208], length_penalty=2.0),
    dict(num_beams=3, eos_token_id=[30, 41, 250, 7, 208], length_penalty=-1.0),
    dict(num_beams=5, repetition_penalty=1.4),
    dict(num_beams=3, padded=True),
]


def main() -> None:
    model = GPT2LMHeadModel.from_pretrained(FIXTURES / "gpt2_tiny", attn_implementation="eager").eval().double()
    results = []
    for case in CASES:
        options = dict(case)
        padded = options.pop("padded", False)
        eos = options.pop("eos_token_id", -1)
        ids = torch.tensor(PADDED if padded else PROMPTS)
        mask = torch.tensor(MASK) if padded else torch.ones_like(ids)
        out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=12,
                             eos_token_id=eos, pad_token_id=PAD, **options)
        results.append({**case, "ids": out.tolist()})
        print(case, out.shape)
    lines = ",\n".join(f"  {json.dumps(result)}" for result in results)
    facts = f'"prompts": {json.dumps(PROMPTS)},\n "padded": {json.dumps(PADDED)},\n "mask": {json.dumps(MASK)}'
    (FIXTURES / "gpt2_tiny" / "beams.json").write_text(f"{{{facts},\n \"cases\": [\n{lines}\n]}}\n")


if __name__ == "__main__":
    main()
