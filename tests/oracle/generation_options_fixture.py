"""Makes tests/fixtures/gpt2_tiny/generation_options.json: what options of transformers' generate do.

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
# Runs whose rows may end: eos is a token that greedy search comes to.
BANS = [
    dict(min_new_tokens=9),
    dict(min_new_tokens=9, padded=True),
    dict(min_new_tokens=9, num_beams=3),
    dict(suppress_tokens=[]),
    dict(suppress_tokens=[], num_beams=2, num_return_sequences=2),
    dict(bad_words_ids=[]),
    dict(bad_words_ids=[], padded=True),
    dict(bad_words_ids=[], num_beams=3, num_return_sequences=3),
    dict(bad_words_ids=[], no_repeat_ngram_size=2, min_new_tokens=12, suppress_tokens=[]),
    dict(max_length=9),
    dict(num_beams=4, num_return_sequences=4, early_stopping=True),
    dict(num_beams=4, num_return_sequences=2, length_penalty=2.0),
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


def runs_of(model, options: dict, ids: list, mask, eos: int) -> list:
    length = {} if "max_length" in options else {"max_new_tokens": 16}
    out = model.generate(input_ids=torch.tensor(ids), attention_mask=mask, do_sample=False, eos_token_id=eos,
                         pad_token_id=PAD, **length, **options)
    return out.tolist()


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
    # What greedy search does without options: the tokens to rule out, and one to end at.
    free = runs_of(model, dict(), PROMPTS, torch.ones(2, 5, dtype=torch.long), -1)
    first, second = free[0][5:], free[1][5:]
    eos = second[3]
    words = {
        "suppress_tokens": [first[0], second[1]],
        # one token, the end itself (which stays allowed), two and three tokens in a row, and a word that does not occur
        "bad_words_ids": [[second[0]], [eos], first[1:3], first[4:7], [first[0], 255, 254], [PROMPTS[0][-1], first[0]]],
    }
    bans = []
    for case in BANS:
        options = {name: words[name] if value == [] else value for name, value in case.items()}
        padded = options.pop("padded", False)
        ids, mask = (PADDED, MASK) if padded else (PROMPTS, [[1] * 5] * 2)
        shown = {**options, **({"padded": True} if padded else {})}
        bans.append({**shown, "ids": runs_of(model, options, ids, torch.tensor(mask), eos)})
    draws = [{**case, "probabilities": kept(case)} for case in DRAWS]
    lists = {"runs": runs, "bans": bans, "draws": draws}
    text = {name: ",\n".join(f"  {json.dumps(case)}" for case in cases) for name, cases in lists.items()}
    facts = {"prompts": PROMPTS, "padded": PADDED, "mask": MASK, "logits": LOGITS, "eos": eos}
    head = "".join(f' "{name}": {json.dumps(value)},\n' for name, value in facts.items())
    (FIXTURES / "gpt2_tiny" / "generation_options.json").write_text(
        f'{{\n{head} "runs": [\n{text["runs"]}\n],\n "bans": [\n{text["bans"]}\n],\n "draws": [\n{text["draws"]}\n]}}\n')


if __name__ == "__main__":
    main()
