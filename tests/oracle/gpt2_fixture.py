"""Makes tests/fixtures/gpt2_tiny: a random GPT-2 and what transformers computes with it, in float64.

Run: python tests/oracle/gpt2_fixture.py
"""

import copy

import torch
from fixture import (FIXTURES, adamw_losses, causal_lm_loss, clean_folder, float32_error, loss_and_gradients, max_abs,
                     random_batch, random_gpt2, save_expected)
from transformers import GPT2Config

SEED = 20261124


def tiny_config() -> GPT2Config:
    """Sizes that no tile divides: V=257, C=48, H=4 (D=12), L=3, 64 positions, no dropout."""
    return GPT2Config(vocab_size=257, n_positions=64, n_embd=48, n_layer=3, n_head=4, bos_token_id=256,
                      eos_token_id=256, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)


def generation(model, prompts: list[list[int]]) -> tuple[dict, float]:
    """Greedy ids of each prompt alone, and of all of them left-padded in one batch; the smallest top-2 margin."""
    margin = float("inf")

    def greedy(ids, mask, **options):
        nonlocal margin
        out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=0,
                             eos_token_id=options.pop("eos_token_id", -1), max_new_tokens=30, output_scores=True,
                             return_dict_in_generate=True, **options)
        for scores in out.scores:
            top = scores.topk(2, dim=-1).values
            margin = min(margin, (top[:, 0] - top[:, 1]).min().item())
        return out.sequences.tolist()

    alone = [greedy(torch.tensor([p]), torch.ones(1, len(p), dtype=torch.long))[0] for p in prompts]
    width = max(map(len, prompts))
    padded = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    stop = alone[0][len(prompts[0]) + 11]
    first = torch.tensor([prompts[0]])
    ones = torch.ones_like(first)
    return {
        "prompts": prompts,
        "greedy": alone,
        "left_padded": {"input_ids": padded.tolist(), "attention_mask": mask.tolist(), "greedy": greedy(padded, mask)},
        "repetition_penalty_1.3": greedy(first, ones, repetition_penalty=1.3),
        "stop": {"eos_token_id": stop, "pad_token_id": 0, "greedy": greedy(first, ones, eos_token_id=stop),
                 "left_padded_greedy": greedy(padded, mask, eos_token_id=stop)},
    }, margin


def main() -> None:
    model = random_gpt2(tiny_config(), SEED)
    folder = clean_folder(FIXTURES / "gpt2_tiny")
    model.save_pretrained(folder)
    model64 = copy.deepcopy(model).double()
    ids, labels = random_batch(257, 2, 33, SEED + 1)

    # The plain batch [2, 33]: logits, hidden states, loss, and the gradient of every parameter.
    logits, loss, gradients = loss_and_gradients(model64, ids, labels)
    tensors = {"logits": logits}
    tensors |= {f"grad.{name}": g for name, g in gradients.items()}
    with torch.no_grad():
        hidden = model64(input_ids=ids, output_hidden_states=True).hidden_states
    tensors |= {f"hidden.{i}": h for i, h in enumerate(hidden)}

    # Right padding: row 1 has 20 real tokens; labels of pads are -100.
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    padded_labels = labels.masked_fill(mask == 0, -100)
    right_logits, right_loss, right_gradients = loss_and_gradients(model64, ids, padded_labels, attention_mask=mask)
    tensors["right_padded.logits"] = right_logits * mask[..., None]
    for name in ["transformer.wpe.weight", "transformer.h.0.attn.c_attn.weight", "transformer.h.2.ln_1.weight"]:
        tensors[f"right_padded.grad.{name}"] = right_gradients[name]

    # Left padding: row 1 has 13 pads in front. Once with the positions generate() makes, once with the default ones.
    left_mask = torch.ones_like(ids)
    left_mask[1, :13] = 0
    positions = (left_mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        left = model64(input_ids=ids, attention_mask=left_mask, position_ids=positions).logits
        left_default = model64(input_ids=ids, attention_mask=left_mask).logits
        alone = model64(input_ids=ids[1:, 13:]).logits
    assert max_abs(left[1:, 13:], alone) < 1e-12
    tensors["left_padded.logits"] = left * left_mask[..., None]
    tensors["left_padded.logits_default_positions"] = left_default[1:, 13:16]

    # KV cache: 20 tokens, then 1, then 12; the logits are those of the whole sequence.
    with torch.no_grad():
        past, pieces = None, []
        for begin, end in [(0, 20), (20, 21), (21, 33)]:
            out = model64(input_ids=ids[:, begin:end], past_key_values=past, use_cache=True)
            past = out.past_key_values
            pieces.append(out.logits)
            if begin == 0:
                for i, layer in enumerate(past.layers):
                    tensors[f"cache.{i}.key"] = layer.keys[:1].clone()
                    tensors[f"cache.{i}.value"] = layer.values[:1].clone()
    assert max_abs(torch.cat(pieces, 1), logits) < 1e-12

    prompts = [ids[0, :7].tolist(), ids[1, :4].tolist()]
    generated, margin = generation(model, prompts)
    generated64, _ = generation(copy.deepcopy(model64), prompts)
    assert generated == generated64, "greedy tokens depend on the precision: take another seed"

    training64 = adamw_losses(copy.deepcopy(model64), ids, labels)
    training32 = adamw_losses(copy.deepcopy(model), ids, labels)
    save_expected(folder, tensors, {
        "made_by": "tests/oracle/gpt2_fixture.py",
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "loss": loss.item(),
        "num_items_in_batch": 100,
        "loss_num_items": causal_lm_loss(logits, labels, 100).item(),
        "parameters": {n: list(p.shape) for n, p in model.named_parameters()},
        "adamw": {"lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8,
                  "losses": training64, "losses_float32": training32},
        "right_padded": {"attention_mask": mask.tolist(), "labels": padded_labels.tolist(), "loss": right_loss.item()},
        "left_padded": {"attention_mask": left_mask.tolist(), "position_ids": positions.tolist()},
        "cache": {"chunks": [20, 1, 12], "batch_row": 0},
        "generation": generated,
        "generation_margin": margin,
        "float32_error": float32_error(model, model64, ids, labels)
        | {"adamw_losses": max_abs(training32, training64)},
    })


if __name__ == "__main__":
    main()
