"""Makes tests/fixtures/loftq/cases.safetensors: what peft's own loftq_init makes of a weight, with 4 and 8 bits and one to
three turns: the base as it holds it (`base`) and the product of its factors (`change`). peft's function asks for CUDA by
name; here it is told "cpu".

Run: python tests/oracle/loftq_fixture.py
"""

import inspect

import bitsandbytes as bnb
import torch
from fixture import FIXTURES
from peft.utils import loftq_utils
from safetensors.torch import save_file

RANK = 8
source = inspect.getsource(loftq_utils.loftq_init).replace('else "cuda"', 'else "cpu"')
assert 'else "cpu"' in source
exec(source, loftq_utils.__dict__)


def int8(weight: torch.Tensor):
    """Int8Params quantises when it moves to a device; on the CPU it is asked for itself."""
    codes, scales, _ = bnb.functional.int8_vectorwise_quant(weight.to(torch.float16))
    return bnb.functional.int8_vectorwise_dequant(codes, scales)


def main() -> None:
    torch.manual_seed(11)
    weight = torch.randn(64, 128) * 0.05
    tensors = {"weight": weight}
    for turns in (1, 3):
        base, A, B = loftq_utils.loftq_init(weight, num_bits=4, reduced_rank=RANK, num_iter=turns)
        tensors |= {f"4.{turns}.base": base.contiguous(), f"4.{turns}.change": (B @ A).contiguous()}
    rest = weight
    for turns in (1, 2):
        base = int8(rest).to(torch.float32)
        found = loftq_utils._low_rank_decomposition(weight - base, reduced_rank=RANK)
        change = found["L"] @ found["R"]
        tensors |= {f"8.{turns}.base": base.contiguous(), f"8.{turns}.change": change.contiguous()}
        rest = weight - change
    (FIXTURES / "loftq").mkdir(exist_ok=True)
    save_file(tensors, FIXTURES / "loftq" / "cases.safetensors")
    for name, tensor in tensors.items():
        print(name, tuple(tensor.shape), float((tensor - weight).norm() / weight.norm()))


main()
