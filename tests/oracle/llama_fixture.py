"""Makes tests/fixtures/llama/<case>: small random models of Llama's family, with float64 expectations.

Run: python tests/oracle/llama_fixture.py [case ...]
"""

import copy
import sys

import torch
from fixture import (FIXTURES, adamw_losses, clean_folder, float32_error, loss_and_gradients, random_batch,
                     save_expected)
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, MistralConfig,
                          MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
                          SmolLM3Config, SmolLM3ForCausalLM)

SEED = 500
BASE = dict(vocab_size=61, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
CASES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "llama_tied_biases": (LlamaForCausalLM, LlamaConfig, dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, num_key_value_heads=1, rms_norm_eps=0.01)),
    "llama_no_groups": (LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=4, hidden_act="gelu", head_dim=16)),
    "llama_linear": (LlamaForCausalLM, LlamaConfig, dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=3.0))),
    "llama_dynamic": (LlamaForCausalLM, LlamaConfig, dict(rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0))),
    "llama_llama3": (LlamaForCausalLM, LlamaConfig, dict(rope_parameters=LLAMA3)),
    "llama_yarn": (LlamaForCausalLM, LlamaConfig, dict(rope_parameters=YARN)),
    "mistral": (MistralForCausalLM, MistralConfig, dict(sliding_window=7)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, dict(tie_word_embeddings=True)),
    "qwen2_window": (Qwen2ForCausalLM, Qwen2Config, dict(use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, dict(head_dim=16, tie_word_embeddings=True)),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, dict(num_hidden_layers=3, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    "smollm3": (SmolLM3ForCausalLM, SmolLM3Config, dict(num_hidden_layers=4, no_rope_layer_interval=2)),
    "gemma3_softcap": (Gemma3ForCausalLM, Gemma3TextConfig, dict(head_dim=16, final_logit_softcapping=1.5, sliding_window=6)),
    "llama_dynamic_long": (LlamaForCausalLM, LlamaConfig, dict(max_position_embeddings=12, rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0))),
}


def main() -> None:
    for i, (name, (model_class, config_class, fields)) in enumerate(CASES.items()):
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        config = config_class(**BASE | fields)
        config._attn_implementation = "eager"
        model = model_class(config).eval()
        generator = torch.Generator().manual_seed(SEED + i)
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                value = torch.randn(parameter.shape, generator=generator) * (0.1 if "embed_tokens" in path else 0.2)
                if "norm" in path and "gemma" not in config.model_type:
                    value += 1
                parameter.copy_(value)
        folder = clean_folder(FIXTURES / "llama" / name)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        model64 = copy.deepcopy(model).double()
        ids, labels = random_batch(config.vocab_size, 2, 19, SEED + i)
        logits, loss, gradients = loss_and_gradients(model64, ids, labels)
        error = float32_error(model, model64, ids, labels)
        mask = torch.ones_like(ids)
        mask[0, 13:] = 0
        mask[1, :4] = 0
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        model64.set_attn_implementation("sdpa")  # eager attention gives NaN for rows that see nothing
        with torch.no_grad():
            model64(input_ids=ids[:, :3])  # so that dynamic rotary embeddings forget the longer sequence before
            padded = model64(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        greedy = model64.generate(ids[:1, :5], max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
        with torch.no_grad():
            model64(input_ids=ids[:, :3])
        losses = adamw_losses(copy.deepcopy(model64), ids, labels)
        tensors = {"logits": logits, "padded.logits": padded} | {f"grad.{n}": g for n, g in gradients.items()}
        save_expected(folder, tensors, {
            "made_by": "tests/oracle/llama_fixture.py",
            "input_ids": ids.tolist(),
            "labels": labels.tolist(),
            "loss": loss.item(),
            "mask": mask.tolist(),
            "positions": positions.tolist(),
            "greedy": greedy[0].tolist(),
            "ten_losses": losses,
            "parameters": [n for n, _ in model.named_parameters()],
            "modules": [n for n, _ in model.named_modules() if n and "act_fn" not in n and "rotary" not in n and not n.endswith("layers")],
            "float32_error": error,
        })
        print(name, sum(p.numel() for p in model.parameters()), round(loss.item(), 4), error)


if __name__ == "__main__":
    main()
