"""Makes tests/fixtures/optimizers: weights after some of 12 steps of optimizers of torch, transformers and lion-pytorch.

Run: pip install lion-pytorch; python tests/oracle/optimizers_fixture.py
Weights and gradients are fractions that float32 holds exactly as JavaScript computes them; see `numbers`.
"""

import json

import numpy as np
import torch
from fixture import FIXTURES
from lion_pytorch import Lion
from safetensors.torch import save_file
from transformers.optimization import Adafactor

SHAPES = [(7,), (12, 20), (3, 5, 6), (150, 2), (1, 1)]
STEPS = 12
KEPT = (0, 4, 11)
CASES = {
    "adafactor": (Adafactor, dict(lr=1e-2, scale_parameter=False, relative_step=False)),
    "adafactor_decay": (Adafactor, dict(lr=5e-3, scale_parameter=False, relative_step=False, weight_decay=0.1,
                                        clip_threshold=0.5, decay_rate=-0.6)),
    "lion": (Lion, dict(lr=1e-3, betas=(0.9, 0.99))),
    "lion_decay": (Lion, dict(lr=1e-3, betas=(0.95, 0.98), weight_decay=0.1)),
    "sgd": (torch.optim.SGD, dict(lr=1e-2)),
    "sgd_momentum": (torch.optim.SGD, dict(lr=1e-2, momentum=0.9, dampening=0.1, weight_decay=0.01)),
    "sgd_nesterov": (torch.optim.SGD, dict(lr=1e-2, momentum=0.9, nesterov=True)),
    "adamw": (torch.optim.AdamW, dict(lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)),
}


def numbers(size: int, seed: int) -> np.ndarray:
    """Whole numbers from -1001 to 1001, over 1024."""
    i = np.arange(size, dtype=np.int64)
    return (((i * 7919 + seed * 104729) % 2003 - 1001) / 1024).astype(np.float32)


def main() -> None:
    folder = FIXTURES / "optimizers"
    folder.mkdir(exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, (kind, options) in CASES.items():
        # float64: what float32 rounds is ours alone
        params = [torch.nn.Parameter(torch.tensor(numbers(int(np.prod(shape)), i)).double().reshape(shape))
                  for i, shape in enumerate(SHAPES)]
        optimizer = kind(params, **options)
        for step in range(STEPS):
            for i, param in enumerate(params):
                gradient = numbers(param.numel(), 17 + 5 * step + i)
                param.grad = torch.tensor(gradient).double().reshape(param.shape) * 2.0 ** -(step % 4)
            optimizer.step()
            if step in KEPT:
                tensors[f"{name}.{step}"] = torch.cat([p.detach().flatten() for p in params]).float()
        state = optimizer.state_dict()["state"]
        for index, entry in state.items():
            for key, value in entry.items():
                if isinstance(value, torch.Tensor) and key.startswith(("exp_avg", "momentum")):
                    tensors[f"{name}.state.{index}.{key}"] = value.float().contiguous()
    save_file(tensors, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps({
        "made_by": "tests/oracle/optimizers_fixture.py", "shapes": SHAPES, "steps": STEPS, "kept": KEPT,
        "cases": {name: {k: v for k, v in options.items()} for name, (_, options) in CASES.items()}}) + "\n")


if __name__ == "__main__":
    main()
