"""Trains the demo's byte-level BPE tokenizer: 768 tokens over all its kinds of text.

deno run -A examples/demo/write_texts.ts out/texts.txt
python tests/oracle/demo_tokenizer.py out/texts.txt
"""
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

root = Path(__file__).resolve().parents[2]
folder = root / "examples" / "demo" / "model"
folder.mkdir(parents=True, exist_ok=True)
texts = Path(sys.argv[1]).read_text().splitlines()

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
trainer = trainers.BpeTrainer(
    vocab_size=768,
    special_tokens=["<|endoftext|>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
tokenizer.train_from_iterator(texts, trainer)
tokenizer.save(str(folder / "tokenizer.json"))
(folder / "tokenizer_config.json").write_text(
    json.dumps(
        {
            "tokenizer_class": "GPT2TokenizerFast",
            "bos_token": "<|endoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "add_prefix_space": False,
            "model_max_length": 128,
        },
        indent=2,
    )
    + "\n"
)
print(tokenizer.get_vocab_size(), len(tokenizer.encode(texts[0]).ids), len(tokenizer.encode(texts[-1]).ids))
