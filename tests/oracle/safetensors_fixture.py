"""Writes tests/fixtures/safetensors/: files made by Python's safetensors for tests/io.

Run: /opt/venv/bin/python tests/oracle/safetensors_fixture.py
- python.safetensors      the dtypes this library reads and writes, written by safetensors.torch.save_file
- sharded/                two shards and an index, as transformers' save_pretrained lays them out
- verdicts.json           headers (hex) with the verdict of Python's safetensors, for the differential test
"""
import gzip
import json
import random
import struct
from pathlib import Path

import safetensors
import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save_file

torch.set_num_threads(1)
out = Path(__file__).parent.parent / "fixtures" / "safetensors"
(out / "sharded").mkdir(parents=True, exist_ok=True)

tensors = {
    "f64": torch.tensor([[0.1, -2.5e300]], dtype=torch.float64),
    "f32": torch.tensor([1.5, -0.0, float("inf"), float("nan"), 1e-40], dtype=torch.float32),
    "f16": torch.tensor([1.5, -0.0, 65504.0, 6e-8, 0.1], dtype=torch.float16),
    "bf16": torch.tensor([1.5, -0.0, 3e38, 1e-39, 0.1], dtype=torch.bfloat16),
    "i64": torch.tensor([[1, -2], [2**62, -(2**63)]], dtype=torch.int64),
    "i32": torch.tensor([1, -2], dtype=torch.int32),
    "i16": torch.tensor([1, -2, 3], dtype=torch.int16),
    "i8": torch.tensor([1, -2, 3], dtype=torch.int8),
    "u8": torch.tensor([0, 255, 7], dtype=torch.uint8),
    "u16": torch.tensor([0, 65535], dtype=torch.uint16),
    "u32": torch.tensor([0, 2**32 - 1], dtype=torch.uint32),
    "u64": torch.tensor([0, 2**63], dtype=torch.uint64),
    "bool": torch.tensor([True, False, True]),
    "scalar": torch.tensor(3.25),
    "empty": torch.zeros((0, 3)),
    "\u00e9/\U0001F600.\uffee": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "quote\"back\\line\n": torch.ones(2),
}
save_file(tensors, out / "python.safetensors", {"format": "pt"})

shards = {
    "model-00001-of-00002.safetensors": {"wte.weight": torch.arange(12.0).reshape(4, 3), "h.0.bias": torch.ones(3)},
    "model-00002-of-00002.safetensors": {"ln_f.weight": torch.full((3,), 2.0).half()},
}
weight_map = {}
for name, part in shards.items():
    save_file(part, out / "sharded" / name, {"format": "pt"})
    weight_map |= {key: name for key in part}
index = {"metadata": {"total_size": 66}, "weight_map": weight_map}
(out / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")

# Differential corpus: mutations of valid headers. Python's verdict is recorded; the TypeScript reader must agree,
# but where it is stricter on purpose; the test lists those classes.
rng = random.Random(20261124)


def verdict(raw):
    try:
        deserialize(raw)
        return 1
    except SafetensorError:
        return 0


seeds = [
    ('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}}', 11),
    ('{"__metadata__":{"k":"v"},"w":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}  ', 4),
    (' {"":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":[1.5e3,null,{"y":"\\u00e9\\n"}]}}', 1),
    ('{"z":{"dtype":"F64","shape":[0,5],"data_offsets":[0,0]},"__proto__":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}', 1),
]
alphabet = '{}[]",:0123456789.eE+- \\\t\nabu\x00\x7f\u00e9tfn'
cases = []
while len(cases) < 3000:
    text, size = rng.choice(seeds)
    raw = bytearray(text.encode())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(raw))
        kind = rng.randrange(5)
        if kind == 0:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del raw[at]
        elif kind == 2:
            raw[at:at] = rng.choice(alphabet).encode()
        elif kind == 3:
            raw[at] = rng.choice(alphabet).encode()[0]
        else:
            size = max(0, size + rng.choice([-1, 1, 0]))
    file = struct.pack("<Q", len(raw)) + bytes(raw) + bytes(size)
    cases.append([raw.hex(), size, verdict(file)])
text = json.dumps({"safetensors": safetensors.__version__, "cases": cases}, separators=(",", ":"))
(out / "verdicts.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
print(len(text), sum(c[2] for c in cases), "accepted of", len(cases))
