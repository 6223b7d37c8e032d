"""Makes tests/fixtures/gpt2_layouts/<case>: one small GPT-2 saved in every layout found on the hub.

Run: python tests/oracle/gpt2_layouts_fixture.py
"""

import copy
import json
from pathlib import Path

import torch
from fixture import (FIXTURES, clean_folder, loss_and_gradients, random_batch, random_gpt2, save_expected,
                     small_config)
from safetensors.torch import load_file, save_file

SEED = 200


def rewrite(folder: Path, change) -> None:
    """Replaces model.safetensors by `change` of its tensors."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def as_hub_gpt2(tensors: dict) -> dict:
    """The hub's `gpt2`: no `transformer.` prefix, and the causal mask as the buffer `attn.bias` of each layer."""
    renamed = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    for i in range(2):
        renamed[f"h.{i}.attn.bias"] = torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16)
    return renamed


def with_masked_bias(tensors: dict) -> dict:
    """Older checkpoints: prefixed, with boolean masks, `attn.masked_bias`, and the tied lm_head written out."""
    out = dict(tensors)
    for i in range(2):
        out[f"transformer.h.{i}.attn.bias"] = torch.tril(torch.ones(16, 16, dtype=torch.bool)).view(1, 1, 16, 16)
        out[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    out["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    return out


def main() -> None:
    model = random_gpt2(small_config(), SEED)
    ids, labels = random_batch(61, 2, 13, SEED)
    root = clean_folder(FIXTURES / "gpt2_layouts")

    def expect(folder: Path, source) -> None:
        (folder / "generation_config.json").unlink(missing_ok=True)
        logits, loss, _ = loss_and_gradients(copy.deepcopy(source).double(), ids, labels)
        save_expected(folder, {"logits": logits}, {
            "made_by": "tests/oracle/gpt2_layouts_fixture.py", "input_ids": ids.tolist(), "labels": labels.tolist(),
            "loss": loss.item()})
        # transformers itself must read what we call a layout of its own.
        loaded = type(source).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        difference = (loaded(input_ids=ids).logits - logits).abs().max().item()
        assert difference < 1e-5, (folder, difference)
        print(folder.name, [f.name for f in sorted(folder.iterdir())], f"{difference:.1e}")

    for name, change in [("no_prefix", as_hub_gpt2), ("masked_bias", with_masked_bias)]:
        model.save_pretrained(root / name)
        rewrite(root / name, change)
        expect(root / name, model)

    model.save_pretrained(root / "sharded", max_shard_size="12KB")
    index = json.loads((root / "sharded" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == 3, index
    expect(root / "sharded", model)

    for name, dtype in [("float16", torch.float16), ("bfloat16", torch.bfloat16)]:
        cast = copy.deepcopy(model).to(dtype)
        cast.save_pretrained(root / name)
        expect(root / name, cast.float())


if __name__ == "__main__":
    main()
