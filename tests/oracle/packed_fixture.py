"""Makes tests/fixtures/packed/<case>: several documents in one row, told by positions that restart.

transformers finds the documents in `position_ids` where there is no mask and no cache (masking_utils,
find_packed_sequence_indices). The models are those of `gpt2_tiny` and `llama/<case>`.

Run: python tests/oracle/packed_fixture.py
"""

import torch
from fixture import FIXTURES, clean_folder, loss_and_gradients, save_expected
from transformers import AutoModelForCausalLM

SEED = 900
LENGTHS = [[9, 1, 17, 14], [30, 11]]
CASES = {
    "gpt2": "gpt2_tiny",
    "llama": "llama/llama",
    "mistral": "llama/mistral",
    "gemma3": "llama/gemma3",
}


def main() -> None:
    for i, (name, source) in enumerate(CASES.items()):
        model = AutoModelForCausalLM.from_pretrained(FIXTURES / source, dtype=torch.float64, attn_implementation="eager").eval()
        generator = torch.Generator().manual_seed(SEED + i)
        ids = torch.randint(0, model.config.vocab_size, (2, sum(LENGTHS[0])), generator=generator)
        positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in LENGTHS])
        labels = ids.masked_fill(positions == 0, -100)
        logits, loss, gradients = loss_and_gradients(model, ids, labels, position_ids=positions, use_cache=False)
        alone = [model(input_ids=part[None], use_cache=False).logits[0] for row, n in zip(ids, LENGTHS) for part in row.split(n)]
        difference = (torch.cat(alone) - logits.flatten(0, 1)).abs().max().item()
        assert difference < 1e-5, f"{name}: documents see each other, {difference}"  # Llama's softmax is float32
        small = {f"grad.{n}": g for n, g in gradients.items() if g.numel() <= 10_000}
        save_expected(clean_folder(FIXTURES / "packed" / name), {"logits": logits} | small, {
            "made_by": "tests/oracle/packed_fixture.py",
            "model": source,
            "input_ids": ids.tolist(),
            "labels": labels.tolist(),
            "positions": positions.tolist(),
            "lengths": LENGTHS,
            "loss": loss.item(),
        })
        print(name, round(loss.item(), 4), len(small))


if __name__ == "__main__":
    main()
