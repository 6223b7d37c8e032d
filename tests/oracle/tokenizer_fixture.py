"""Writes tests/fixtures/tokenizer/: texts with the ids that Python's tokenizers gives them.

Run, from the repository root (the first line writes GPT-2's tokenizer.json from the embedded ranks):
    deno eval 'import { AutoTokenizer } from "@peft/webgpu"; await (await AutoTokenizer.fromPretrained("gpt2")).savePretrained("/tmp/gpt2_tokenizer")'
    /opt/venv/bin/python tests/oracle/tokenizer_fixture.py /tmp/gpt2_tokenizer

- gpt2.json.gz       5,000 [text, ids, decoded ids], GPT-2's vocabulary; ids also equal to tiktoken's; 500 [ids, text]
                     of random ids, whose bytes are mostly not valid UTF-8
- small/             a byte-level BPE tokenizer of 600 tokens, with a template and a padding token, trained here
- small.json.gz      1,500 [text, ids, decoded ids] of it
"""
import gzip
import json
import random
import sys
from pathlib import Path

import tiktoken
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

out = Path(__file__).parent.parent / "fixtures" / "tokenizer"
out.mkdir(parents=True, exist_ok=True)
rng = random.Random(20261124)

WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had not but what all
were when we there can an your which their said if do will each about how up out them then she many some so these would
other into has more her two like him see time could no make than first been its who now people my made over did down only
way find use may water long little very after words called just where most know get through back much before go good new
write our used me man too any day same right look think also around another came come work three word must because does
part even place well such here take why things help put years different away again off went old number great tell men say
small every found still between name should home big give air line set own under read last never us left end along while
might next sound below saw something thought both few those always show large often together asked house world going want
school important until form food keep children feet land side without boy once animals life enough took sometimes four
head above kind began almost live page got earth need far hand high year mother light parts country father let night
following picture being study second eyes soon times story boys since white days ever paper hard near sentence better
best across during today others however sure means knew tried told young sun ways thing whole hear example heard several
change answer room sea against top turned learn point city play toward five using himself usually gradient attention
tokenizer adapter rank matmul antidisestablishmentarianism supercalifragilistic onomatopoeia quizzaciously""".split()
CODE = ["def f(x):\n    return x ** 2\n", "for (let i = 0; i < n; i++) {\n\t\ta[i] += b[i];\n\t}\n", "#include <stdio.h>\r\n",
        "const x: Map<string, number[]> = new Map();", "SELECT * FROM t WHERE a='b' AND c>=3;", "x = [i for i in range(10) if i%2==0]",
        "std::vector<std::pair<int,int>> v;", "<div class=\"a b\" id='c'>&nbsp;</div>", "if err != nil {\n\treturn nil, err\n}", "\\frac{a}{b} \\cdot \\sum_{i=0}^n",
        "https://example.org/a/b?c=d&e=%20f#g", "{\"a\": [1, 2.5e-3, null, true]}", "rm -rf ./build && make -j8 2>&1 | tee log.txt", "0x1F, 0b1010, 1_000_000, 3.14f"]
UNICODE = ["naïve café résumé", "Straße größer Übermut", "Привет, мир!", "Ελληνικά γράμματα", "日本語のテキストです。", "中文字符测试", "한국어 문장", "العربية من اليمين",
           "עברית", "हिन्दी में पाठ", "ไทย ภาษา", "Việt Nam", "Ünïcödé", "ﬁ ﬂ ligatures", "½ ¾ ² ³ ①②③", "x\u0301 y\u0308 combining", "\u1e9b\u0323", "٣٤٥ ۱۲۳ १२३ 𝟘𝟙", "ǅ ǈ ǋ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\u200bzero\u200bwidth\u200d", "Ⅷ Ⅻ",
           "\u2028line\u2029paragraph", "€ £ ¥ ₿", "“quotes” ‘single’ — dash…", "«ça»", "→ ⇒ ∀x∈ℝ", "ŁÓDŹ"]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "🤷🏻‍♀️", "🏳️‍🌈", "🎉🎉🎉", "☃", "🧑‍🚀"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\t\t ", "\u00a0", "\u3000", "\u2003 ", "\x0b", "\x0c", "\u0085", "\u1680", "\u202f", "\x1c", "\x1f", "       ", "\n \n  \n"]
CONTRACTIONS = ["don't", "I'm", "we'll", "they've", "you're", "it's", "he'd", "DON'T", "I'M", "'s", "''s", "'tis", "o'clock", "rock'n'roll", "'ve'll", "’s don’t", "'S 'T 'RE", "'re'd'm"]
NUMBERS = ["0", "7", "42", "2026", "1,234,567.89", "3.14159265358979", "-1e-10", "10000000000000000", "1st 2nd 3rd", "12:34:56", "50257", "(555) 123-4567", "٠١٢٣", "²³"]
PUNCTUATION = ["!", "?!", "...", "---", "***", "(((", "}}}", "@user #tag", "a_b_c", "$$$", "//", "\\\\", "<>", "::", "~~~~~~", "=====", "|||", "`code`", '"""', "''''"]
SPECIAL = ["<|endoftext|>", "<|endoftext|", "|endoftext|>", "<|endoftext|><|endoftext|>", " <|endoftext|> ", "<|ENDOFTEXT|>", "<|im_start|>"]
ODD = ["\ufeff", "\ufeff\ufeff", "\x00", "\x07", "\x1b[0m", "\x7f", "\ufffd", "\ufffe", "\U0010ffff", "\u061c", "\ue000", "a" * 70, "ab" * 40, "xyz" * 30, "ACGT" * 20, "\u00ad", "é" * 30]


def prose():
    words = [rng.choice(WORDS) for _ in range(rng.randrange(1, 12))]
    if rng.random() < 0.5:
        words[0] = words[0].capitalize()
    if rng.random() < 0.1:
        words = [w.upper() for w in words]
    return rng.choice([" ", " ", " ", ", ", "  "]).join(words) + rng.choice([".", "", "!", "?", ";", ":", " .", "...", ".\n"])


def random_characters():
    top = rng.choice([0x80, 0x100, 0x250, 0x3000, 0xFFFF, 0x1FFFF])
    text = ""
    for _ in range(rng.randrange(1, 16)):
        code = rng.randrange(top)
        if not 0xD800 <= code < 0xE000 and assigned(code):
            text += chr(code)
    return text


def assigned(code):
    # Letters and digits of the newest Unicode versions are classed differently by libraries of different age.
    import unicodedata
    return unicodedata.category(chr(code)) != "Cn"


def text():
    kind = rng.randrange(12)
    pool = [None, CODE, UNICODE, EMOJI, SPACES, CONTRACTIONS, NUMBERS, PUNCTUATION, SPECIAL, ODD][kind] if kind < 10 else None
    if kind in (0, 10):
        return prose()
    if kind == 11:
        return random_characters()
    parts = []
    for _ in range(rng.randrange(1, 5)):
        parts.append(rng.choice(pool))
        parts.append(rng.choice(["", "", " ", rng.choice(WORDS), " " + rng.choice(WORDS), rng.choice(SPACES), rng.choice(NUMBERS), rng.choice(UNICODE + EMOJI)]))
    return "".join(parts)


def texts(count, first):
    seen = dict.fromkeys(first)
    while len(seen) < count:
        seen.setdefault(text())
    return list(seen)


FIRST = ["", " ", "Hello, PEFT!", "a<|endoftext|>b", "<|endoftext|>"] + CODE + UNICODE + EMOJI + SPACES + CONTRACTIONS + NUMBERS + PUNCTUATION + SPECIAL + ODD


def rows(tokenizer, all_texts):
    result = []
    for t in all_texts:
        ids = tokenizer.encode(t).ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        result.append([t, ids] if decoded == t else [t, ids, decoded])
    return result


def write(name, value):
    raw = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    packed = gzip.compress(raw, 9, mtime=0)
    (out / name).write_bytes(packed)
    print(name, len(packed), "bytes")


# GPT-2
source = json.loads(Path(sys.argv[1], "tokenizer.json").read_text())
gpt2 = Tokenizer.from_file(str(Path(sys.argv[1], "tokenizer.json")))
chars = {}
following = 0x100
for byte in range(256):
    if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE:
        chars[chr(byte)] = byte
    else:
        chars[chr(following)] = byte
        following += 1
ranks = {bytes(chars[c] for c in token): i for token, i in source["model"]["vocab"].items() if i != 50256}
reference = tiktoken.Encoding(
    "gpt2",
    pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    mergeable_ranks=ranks,
    special_tokens={"<|endoftext|>": 50256},
)
gpt2_rows = rows(gpt2, texts(5000, FIRST))
different = [row for row in gpt2_rows if reference.encode(row[0], allowed_special="all") != row[1]]
assert not different, different[:5]
random_ids = [[rng.randrange(50257) for _ in range(rng.randrange(1, 10))] for _ in range(350)]
random_ids += [[rng.randrange(256) for _ in range(rng.randrange(1, 12))] for _ in range(150)]
decoded = [[ids, gpt2.decode(ids, skip_special_tokens=False), gpt2.decode(ids, skip_special_tokens=True)] for ids in random_ids]
write("gpt2.json.gz", {"encode": gpt2_rows, "decode": decoded})

# a small one of its own
small = Tokenizer(models.BPE())
small.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
small.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=600,
    special_tokens=["<pad>", "<bos>", "<eos>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
small.train_from_iterator([prose() for _ in range(3000)] + CODE + UNICODE, trainer)
small.add_tokens([AddedToken("<tool>", normalized=False)])
small.post_processor = processors.TemplateProcessing(
    single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
)
wrapped = PreTrainedTokenizerFast(
    tokenizer_object=small, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left", model_max_length=64
)
wrapped.save_pretrained(out / "small")
path = out / "small" / "tokenizer.json"
path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")))
SPECIAL += ["<bos>", "<eos>x<pad>", "<tool>", "a<tool>b <tool>"]
small_rows = rows(small, texts(1500, FIRST + SPECIAL))
batch = ["Hello", "the people of the world", "", "<tool>"]
calls = []
for kwargs in [
    {},
    {"padding": True},
    {"padding": True, "padding_side": "right"},
    {"padding": "max_length", "max_length": 12},
    {"truncation": True, "max_length": 5},
    {"truncation": True, "max_length": 2},
    {"padding": "max_length", "truncation": True, "max_length": 6},
    {"padding": True, "add_special_tokens": False},
]:
    got = wrapped(batch, **kwargs)
    calls.append([kwargs, got["input_ids"], got["attention_mask"]])
write("small.json.gz", {"encode": small_rows, "calls": {"batch": batch, "results": calls}})
print({p.name: p.stat().st_size for p in (out / "small").iterdir()})
