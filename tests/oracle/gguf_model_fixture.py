"""Makes tests/fixtures/gguf/gpt2_*.gguf: small GPT-2 models as llama.cpp's converter lays them out, and their logits.

- gpt2_f32.gguf, gpt2_f16.gguf: the model of fixture gpt2_tiny
- gpt2_mixed.gguf: a random one whose matrices are Q8_0, Q4_0, Q5_1, Q5_0, Q4_1 and BF16; logits by transformers in float64
  from the numbers that gguf-py dequantises

Run: python tests/oracle/gguf_model_fixture.py (needs gguf besides requirements.txt)
"""

import json

import gguf
import numpy as np
import torch
from fixture import FIXTURES
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

folder = FIXTURES / "gguf"
NAMES = {
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}
MIX = {"wte": T.Q8_0, "wpe": T.BF16, "c_attn": T.Q4_0, "attn.c_proj": T.Q5_1, "c_fc": T.Q5_0, "mlp.c_proj": T.Q4_1}


def gguf_name(path: str) -> str:
    module, kind = path.rsplit(".", 1)
    if module.startswith("transformer.h."):
        _, _, layer, rest = module.split(".", 3)
        return f"blk.{layer}.{NAMES[rest]}.{kind}"
    return f"{NAMES[module]}.{kind}"


def write(name: str, model, type_of) -> dict:
    """Writes the file; the values that it holds, by path."""
    config = model.config
    writer = gguf.GGUFWriter(folder / name, "gpt2")
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    held = {}
    for path, parameter in model.named_parameters():
        values = parameter.detach().float().numpy()
        conv1d = any(part in path for part in ("c_attn", "c_proj", "c_fc")) and path.endswith("weight")
        stored = np.ascontiguousarray(values.T if conv1d else values)
        kind = type_of(path) if stored.ndim == 2 else T.F32
        data = quantize(stored, kind) if kind != T.F32 else stored
        back = dequantize(data, kind).reshape(stored.shape) if kind != T.F32 else stored
        held[path] = back.T if conv1d else back
        writer.add_tensor(gguf_name(path), data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


tiny = AutoModelForCausalLM.from_pretrained(FIXTURES / "gpt2_tiny")
write("gpt2_f32.gguf", tiny, lambda path: T.F32)
write("gpt2_f16.gguf", tiny, lambda path: T.F16)
torch.manual_seed(3)
mixed = GPT2LMHeadModel(GPT2Config(vocab_size=41, n_positions=32, n_embd=64, n_layer=1, n_head=4))
held = write("gpt2_mixed.gguf", mixed, lambda path: next(t for part, t in MIX.items() if part in path))
with torch.no_grad():
    for path, parameter in mixed.named_parameters():
        parameter.copy_(torch.tensor(np.ascontiguousarray(held[path])))
mixed = mixed.double().eval()
ids = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 40, 0]]
with torch.no_grad():
    logits = mixed(torch.tensor(ids)).logits[0]
data = {"made_by": "tests/oracle/gguf_model_fixture.py", "ids": ids, "logits": [[round(v, 9) for v in row] for row in logits.tolist()]}
(folder / "gpt2_mixed.json").write_text(json.dumps(data) + "\n")
print({p.name: p.stat().st_size for p in folder.iterdir()})
