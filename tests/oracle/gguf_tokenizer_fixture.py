"""Makes tests/fixtures/gguf: small GGUF files that hold a tokenizer alone, and the ids that transformers gives with them.

- sentencepiece.gguf: a SentencePiece vocabulary (byte fallback, scores) trained on the demo's stories
- byte_level_<pre>.gguf: the demo's byte-level vocabulary under each pre-tokenizer; expected ids come from a tokenizer.json
  with that pre-tokenizer's split, written out here from llama.cpp's llama-vocab.cpp

Run: python tests/oracle/gguf_tokenizer_fixture.py (needs gguf and sentencepiece besides requirements.txt)
"""

import io
import json
import tempfile
from pathlib import Path

import gguf
import sentencepiece
from fixture import FIXTURES
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from transformers import AutoTokenizer

TEXTS = [
    "Once upon a time there was a brave dog.",
    "Ahoy, mateys! It's 1234567 o'clock, we'll see: don't WE'LL",
    "  two  spaces,   three\n\n new lines \t tab ",
    "Köln, naïve café, 日本語 🙂🏴‍☠️",
    "x",
    "",
    "<s>not special?</s> <|endoftext|> end",
    "a1b22c333d4444 3.14 ½ ² ١٢",
    "snake_case CamelCase (parens) [brackets] {braces} http://a.b/c?d=e",
]
folder = FIXTURES / "gguf"
folder.mkdir(exist_ok=True)
demo = FIXTURES.parents[1] / "examples" / "demo"


def write(name: str, fill) -> Path:
    path = folder / name
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


cases = []

# SentencePiece
stories = "\n".join(json.loads(line)["text"] for line in (demo / "data" / "pirate.jsonl").read_text().splitlines())
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(stories.splitlines()), model_writer=model, model_type="bpe", vocab_size=700,
    byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False,
    pad_id=-1, minloglevel=2,
)
sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
tokens = [sp.id_to_piece(i) for i in range(sp.vocab_size())]
scores = [sp.get_score(i) for i in range(sp.vocab_size())]
types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in range(sp.vocab_size())]


def sentence_piece(writer):
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


path = write("sentencepiece.gguf", sentence_piece)
ours = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
for text in TEXTS:
    if "<s>" in text:
        continue  # sentencepiece takes no special tokens; after one, llama.cpp puts a space and transformers does not
    ids = [1] + sp.encode(text)  # transformers puts no space before one that is there
    decoded = ours.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    cases.append({"file": path.name, "text": text, "ids": ids, "decoded": decoded})

# Byte-level BPE
gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
contractions = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    "gpt-2": [gpt2],
    "smollm": [r"\p{N}", gpt2],
    "llama-bpe": [contractions + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + rest],
    "qwen2": [contractions + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + rest],
}
source = json.loads((demo / "model" / "tokenizer.json").read_text())
vocab = sorted(source["model"]["vocab"].items(), key=lambda item: item[1])
merges = [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]]
added = {token["content"]: token["id"] for token in source["added_tokens"]}
names = [name for name, _ in vocab]
assert [i for _, i in vocab] == list(range(len(vocab)))
for pre, splits in SPLITS.items():
    def byte_level(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(names)
        writer.add_token_types([3 if name in added else 1 for name in names])
        writer.add_token_merges(merges)
        writer.add_bos_token_id(added["<|endoftext|>"])
        writer.add_eos_token_id(added["<|endoftext|>"])
        writer.add_add_bos_token(pre == "llama-bpe")
        writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")

    path = write(f"byte_level_{pre}.gguf", byte_level)
    reference = Tokenizer.from_str(json.dumps({**source, "post_processor": None}))
    reference.model.ignore_merges = pre == "llama-bpe"
    steps = [pre_tokenizers.Split(Regex(split), "isolated") for split in splits]
    reference.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    reference.decoder = decoders.ByteLevel()
    for text in TEXTS:
        ids = reference.encode(text, add_special_tokens=False).ids
        bos = [added["<|endoftext|>"]] if pre == "llama-bpe" else []
        decoded = reference.decode(ids, skip_special_tokens=True)
        cases.append({"file": path.name, "text": text, "ids": bos + ids, "decoded": decoded})

target = folder / "expected.json"
target.write_text(json.dumps({"made_by": "tests/oracle/gguf_tokenizer_fixture.py", "cases": cases}, ensure_ascii=False) + "\n")
print(target, len(cases), {p.name: p.stat().st_size for p in folder.iterdir()})
