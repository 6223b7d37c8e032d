"""Makes tests/fixtures/gguf/blocks.safetensors: random blocks of each GGUF format and what gguf-py makes of them.

Run: python tests/oracle/gguf_blocks_fixture.py
"""

import gguf
import numpy as np
from fixture import FIXTURES
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize
from safetensors.numpy import save_file

TYPES = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]
# where halves lie in a block: any bytes are codes, but a scale must be finite
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0]}
rng = np.random.default_rng(1)
tensors = {}
for t in TYPES:
    elements, size = gguf.GGML_QUANT_SIZES[t]
    count = 5 if elements > 1 else 256
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    scales = rng.normal(0, 0.05, (count, 2)).astype(np.float16)
    scales[0] = [6e-8, -6e-8]  # subnormal halves
    for i, at in enumerate(HALVES.get(t, [])):
        blocks[:, at : at + 2] = scales[:, i].copy().view(np.uint8).reshape(count, 2)
    if t == T.F16:
        blocks = rng.normal(0, 1, count).astype(np.float16).view(np.uint8).reshape(1, -1)
    if t == T.BF16:
        bits = rng.normal(0, 1, count).astype(np.float32).view(np.uint32) >> 16
        blocks = bits.astype(np.uint16).view(np.uint8).reshape(1, -1)
    tensors[f"{t.name}.blocks"] = blocks.reshape(-1)
    tensors[f"{t.name}.values"] = dequantize(blocks.reshape(1, -1), t).astype(np.float32).reshape(-1)
target = FIXTURES / "gguf" / "blocks.safetensors"
save_file(tensors, target, metadata={"made_by": "tests/oracle/gguf_blocks_fixture.py"})
print(target, target.stat().st_size)
