"""Makes tests/fixtures/patterns/expected.json: whether Python's re.fullmatch matches module names, pair by pair.

Run: python tests/oracle/pattern_fixture.py
"""

import json
import random
import re

from fixture import FIXTURES, clean_folder

SEED = 7

NAMES = [
    "transformer", "transformer.wte", "transformer.wpe", "transformer.h.0", "transformer.h.0.ln_1",
    "transformer.h.0.attn", "transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn", "transformer.h.10.attn.c_attn",
    "transformer.h.11.attn.c_proj", "transformer.h.2.mlp.c_proj", "transformer.h.2.mlp.c_fc", "transformer.ln_f", "lm_head",
    "", "h.0.attn", "C_ATTN", "c_attn", "xc_attn", "a.b", "a-b", "tab\tname", "line\n", "caf\u00e9", "na\u00efve.module_1", "\u0663\u0664",
    "[x]", "a{2}", "a\\b", "\U0001f600", "aaa", "aaaab", "0x1F", "transformer.h.0.attn.c_attn.lora_A", "_", ".", "...",
]

PATTERNS = [
    r".*c_attn", r".*\.c_attn", r"c_attn", r".*", r"", r".+", r".*\.h\.[02]\.mlp\.c_(fc|proj)", r"transformer\.h\.\d+\..*",
    r"transformer\.h\.(?:0|1|10)\.attn\.c_attn", r".*\.(c_attn|c_proj)$", r"^transformer.*", r"^.*attn$", r".*attn\Z",
    r"\Atransformer\.h.*", r".*\d+.*", r"\w+", r"\W+", r"[\w.]+", r"[^.]+", r"[^.]*\.[^.]*", r"[a-z_]+", r"[A-Z_]+",
    r"(?i)c_attn", r"(?i).*C_ATTN.*", r"(?i)[a-z_]+", r"(?P<block>transformer)\.(?P<rest>.*)", r"(?:transformer|lm_head).*",
    r"a{3}", r"a{2,}b?", r"a{1,3}", r"a{,3}", r"(a|aa)+b", r"(a*)*b", r"(.*)*x", r"a{2", r"a\{2\}", r"a{x}", r"\[x\]", r"[[]x[]]",
    r"[]x[]+", r"[a\]b]+", r"a[-.]b", r"a[+--]b", r"[\d\D]+", r"(?s).*", r".*\n", r"line$", r"line\n?", r"\S+", r"\s*\S+\s*",
    r".*\t.*", r"\x61+", r"\u0061{3}", r"\D*", r".*\bc_attn\b.*", r".*\Battn.*", r"\b\w+\b", r"(?:)", r"(|transformer)", r"a||b",
    r"transformer\.(?:h\.\d{1,2}\.)?(?:attn|mlp)?.*c_(?:attn|proj|fc)", r".*(?<!x)c_attn", r".*?c_attn", r".+?\.c_\w+?",
    r"(transformer(\.(h|wte))*).*", r"[._]+", r"\.{1,3}", r"caf.", r"[\u00e0-\u00ff\w.]+", r"\w+\.\w+", r"(?a)\w+", r"(?i)[^a-z]+", r".",
    r"0x[0-9a-fA-F]+", r"transformer.h.0.attn.c_attn", r"(.*\.)?(h.0.attn.c_attn)$", r"(.*\.)?(^transformer.h.2.mlp.c_fc)$",
    r"[\]]", r"[\\]", r"a\\b", r"[a-]+", r"[^\W\d]+", r"(?:a+)+b", r"((a)|(b))*", r"[ -~]*", r".*(0|1)(\.attn)?",
]

# What a linear-time engine does not do; the library must refuse these by name instead of answering differently.
UNSUPPORTED = re.compile(r"\(\?[=!<]|\(\?<|\\[1-9]|\(\?>|\(\?\(")


def main() -> None:
    generator = random.Random(SEED)
    pairs = []
    for pattern in PATTERNS:
        if UNSUPPORTED.search(pattern) and "(?P<" not in pattern:
            continue
        compiled = re.compile(pattern)
        # Python itself takes exponential time for some pairs: "(a|aa)+b" on long names is left out of the oracle.
        names = [n for n in NAMES if len(n) < 25 or not re.search(r"\)\*|\)\+", pattern)]
        hits = [n for n in names if compiled.fullmatch(n)]
        misses = [n for n in names if not compiled.fullmatch(n)]
        chosen = generator.sample(hits, min(5, len(hits))) + generator.sample(misses, min(5, len(misses)))
        pairs += [[pattern, name, compiled.fullmatch(name) is not None] for name in chosen]
    folder = clean_folder(FIXTURES / "patterns")
    text = ",\n".join("  " + json.dumps(pair) for pair in pairs)
    (folder / "expected.json").write_text('{"made_by": "tests/oracle/pattern_fixture.py", "pairs": [\n' + text + "\n]}\n")
    print(f"{len(pairs)} pairs, {sum(hit for _, _, hit in pairs)} match")


if __name__ == "__main__":
    main()
