"""Makes tests/fixtures/gpt2_tiny/generation_options.json: what transformers' no_repeat_ngram_size and min_p do.

Run: python tests/oracle/generation_options_fixture.py
"""

import json

import torch
from fixture import FIXTURES
from transformers import GPT2LMHeadModel
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

PROMPTS = [[5, 17, 5, 17, 5], [1, 2, 3, 5, 8]]
PADDED = [[0, 0, 17, 200, 17], [1, 2, 3, 5, 8]]
MASK = [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
PAD = 256
RUNS = [
    dict(no_repeat_ngram_size=1),
    dict(no_repeat_ngram_size=2),
    dict(no_repeat_ngram_size=3),
    dict(no_repeat_ngram_size=2, padded=True),
    dict(no_repeat_ngram_size=2, repetition_penalty=0.6),
    dict(no_repeat_ngram_size=2, num_beams=3),
    dict(no_repeat_ngram_size=3, num_beams=2, repetition_penalty=0.8),
]
LOGITS = [2, -1, 0.5, 1.9, 0.4, -3, 1.1, 0.9, -0.2, 1.8]
DRAWS = [
    dict(min_p=0.3),
    dict(min_p=0.3, temperature=2.5),
    dict(min_p=0.95),
    dict(min_p=0.2, top_k=4),
    dict(min_p=0.35, top_p=0.8, temperature=1.3),
]


def kept(options: dict) -> list[float]:
    scores = torch.tensor([LOGITS], dtype=torch.float64)
    if "temperature" in options:
        scores = TemperatureLogitsWarper(options["temperature"])(None, scores)
    if "top_k" in options:
        scores = TopKLogitsWarper(options["top_k"])(None, scores)
    if "top_p" in options:
        scores = TopPLogitsWarper(options["top_p"])(None, scores)
    return MinPLogitsWarper(options["min_p"])(None, scores).softmax(-1)[0].tolist()


def main() -> None:
    model = GPT2LMHeadModel.from_pretrained(FIXTURES / "gpt2_tiny", attn_implementation="eager").eval().double()
    runs = []
    for case in RUNS:
        options = dict(case)
        padded = options.pop("padded", False)
        ids = torch.tensor(PADDED if padded else PROMPTS)
        mask = torch.tensor(MASK) if padded else torch.ones_like(ids)
        out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=16,
                             eos_token_id=-1, pad_token_id=PAD, **options)
        runs.append({**case, "ids": out.tolist()})
    draws = [{**case, "probabilities": kept(case)} for case in DRAWS]
    lists = {"runs": runs, "draws": draws}
    text = {name: ",\n".join(f"  {json.dumps(case)}" for case in cases) for name, cases in lists.items()}
    facts = {"prompts": PROMPTS, "padded": PADDED, "mask": MASK, "logits": LOGITS}
    head = "".join(f' "{name}": {json.dumps(value)},\n' for name, value in facts.items())
    (FIXTURES / "gpt2_tiny" / "generation_options.json").write_text(
        f'{{\n{head} "runs": [\n{text["runs"]}\n],\n "draws": [\n{text["draws"]}\n]}}\n')


if __name__ == "__main__":
    main()
