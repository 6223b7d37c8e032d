"""Makes tests/fixtures/preference: losses, gradients and logs of TRL's preference trainers on gpt2_tiny with an adapter.

Run: python tests/oracle/preference_fixture.py (with trl==1.16.0 and datasets beside requirements.txt)

The policy is `lora/c_attn` at its start, the reference the model with the adapter off. Rows are token ids, so that what
is compared is the training alone; what TRL makes of texts and messages is in `tokenized`.
"""

import json
import random
import tempfile
from collections import defaultdict

import torch
import trl
from datasets import Dataset
from fixture import FIXTURES, clean_folder, save_expected
from lora_fixture import base_model
from peft import LoraConfig, set_peft_model_state_dict
from peft.utils import load_peft_weights
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

ADAPTER = FIXTURES / "lora" / "c_attn"
SEED = 11
PAIRS = 12
STEPS = 10
ARGS = dict(
    per_device_train_batch_size=4, learning_rate=2e-3, lr_scheduler_type="constant", max_steps=STEPS, logging_steps=1,
    report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
    train_sampling_strategy="sequential", max_grad_norm=1e9, disable_tqdm=True, max_length=24,
)
NAMES = {
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
    "kl", "nll_loss", "log_odds_ratio", "log_odds_chosen",
}


def rows() -> list[dict]:
    draw = random.Random(SEED)
    ids = lambda low, high: [draw.randrange(256) for _ in range(draw.randint(low, high))]
    return [{"prompt_ids": ids(1, 9), "chosen_ids": ids(1, 12), "rejected_ids": ids(1, 16)} for _ in range(PAIRS)]


def plain_tokenizer() -> PreTrainedTokenizerFast:
    """The small tokenizer without the tokens that it puts around a text."""
    made = PreTrainedTokenizerFast.from_pretrained(FIXTURES / "tokenizer" / "small")
    made.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    return made


def tokenizer() -> PreTrainedTokenizerFast:
    """For its padding alone: gpt2_tiny has 257 tokens."""
    words = {f"<{i}>": i for i in range(256)} | {"<|endoftext|>": 256}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="<0>")),
                                   pad_token="<|endoftext|>", eos_token="<|endoftext|>")


def as_labels(row: dict, name: str) -> dict:
    whole = (row["prompt_ids"] + row[f"{name}_ids"])[: ARGS["max_length"]]
    prompt = len(row["prompt_ids"])
    return {"input_ids": whole, "attention_mask": [1] * len(whole), "labels": [-100] * prompt + whole[prompt:]}


def ready(cls):
    """A trainer whose rows are token ids already."""

    class Ready(cls):
        def _prepare_dataset(self, dataset, *_):
            return dataset

    return Ready


class Gradients(TrainerCallback):
    def __init__(self):
        self.first = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        if not self.first:
            self.first = {n.replace(".default", ""): p.grad.clone() for n, p in model.named_parameters()
                          if p.grad is not None and ".ref." not in n}


def train(cls, config, data: list[dict], steps: int, **options) -> tuple[list[dict], dict]:
    torch.manual_seed(0)
    gradients = Gradients()
    with tempfile.TemporaryDirectory() as folder:
        args = config(output_dir=folder, **ARGS | options | {"max_steps": steps})
        lora = json.loads((ADAPTER / "adapter_config.json").read_text())
        peft = LoraConfig(r=lora["r"], lora_alpha=lora["lora_alpha"], target_modules=lora["target_modules"],
                          fan_in_fan_out=True, lora_dropout=0.1)
        trainer = cls(model=base_model(), args=args, train_dataset=Dataset.from_list(data), processing_class=tokenizer(),
                      peft_config=peft, callbacks=[gradients])
        set_peft_model_state_dict(trainer.model, load_peft_weights(str(ADAPTER)))
        trainer.train()
    keep = {"loss"} | NAMES
    # The other two take prompts and padding into these means; of several batches TRL has the mean of their means.
    if issubclass(cls, (DPOTrainer, KTOTrainer)) and "gradient_accumulation_steps" not in options:
        keep |= {"logits/chosen", "logits/rejected"}
    logs = [{k: v for k, v in entry.items() if k in keep} for entry in trainer.state.log_history if "loss" in entry]
    return logs, gradients.first


# name: trainer, options, steps
DPO = {
    "sigmoid": ({}, STEPS), "hinge": ({"loss_type": "hinge"}, STEPS), "ipo": ({"loss_type": "ipo"}, STEPS),
    "accumulated": ({"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}, 3),
    "robust": ({"loss_type": "robust", "label_smoothing": 0.1}, 1),
    "sigmoid_norm": ({"loss_type": "sigmoid_norm", "beta": 2.0}, 1),
    "exo_pair": ({"loss_type": "exo_pair", "label_smoothing": 1e-3}, 1),
    "nca_pair": ({"loss_type": "nca_pair"}, 1), "bco_pair": ({"loss_type": "bco_pair"}, 1),
    "sppo_hard": ({"loss_type": "sppo_hard"}, 1), "apo_zero": ({"loss_type": "apo_zero"}, 1),
    "apo_down": ({"loss_type": "apo_down"}, 1), "discopop": ({"loss_type": "discopop"}, 1),
    "mixture": ({"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, 2),
    "ld": ({"ld_alpha": 0.3, "loss_type": ["sigmoid", "sft"]}, 1),
    "aot": ({"loss_type": "aot"}, 3), "aot_unpaired": ({"loss_type": "aot_unpaired", "label_smoothing": 0.2}, 3),
    "forward_kl": ({"f_divergence_type": "forward_kl"}, 1), "js": ({"f_divergence_type": "js_divergence"}, 1),
    "alpha": ({"f_divergence_type": "alpha_divergence", "loss_type": "ipo"}, 1),
    "precomputed": ({"precompute_ref_log_probs": True, "precompute_ref_batch_size": 3}, 3),
}
CPO = {
    "simpo": ({"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}, STEPS), "cpo": ({}, 3),
    "cpo_hinge": ({"loss_type": "hinge", "cpo_alpha": 0.5}, 1), "cpo_ipo": ({"loss_type": "ipo"}, 1),
    "cpo_smooth": ({"label_smoothing": 0.2}, 1), "alphapo": ({"loss_type": "alphapo", "alpha": 0.25, "beta": 2.5}, 1),
}
KTO = {
    "kto": ({}, STEPS), "kto_weighted": ({"desirable_weight": 1.5, "undesirable_weight": 0.5, "beta": 0.3}, 2),
    "apo_zero_unpaired": ({"loss_type": "apo_zero_unpaired"}, 2),
}


def kto_rows(size: int) -> list[dict]:
    draw = random.Random(SEED + 1)
    data = [{"prompt_ids": row["prompt_ids"], "completion_ids": row["chosen_ids" if i % 3 else "rejected_ids"],
             "label": draw.random() < 0.5} for i, row in enumerate(rows())]
    for first in range(0, len(data), size):
        block = data[first : first + size]
        for i, row in enumerate(block):
            row["KL_completion_ids"] = block[i - 1]["completion_ids"]
    return data


TEXTS = [
    {"prompt": "Once upon a time", "chosen": " there was a fox.", "rejected": " the end"},
    {"prompt": "", "chosen": "A story", "rejected": "Nothing"},
    {"prompt": "The dog ", "chosen": "ran home", "rejected": "runs"},
    {"prompt": "No", "chosen": "thing at all", "rejected": "where to go"},
    {"prompt": "One two three four five", "chosen": " six", "rejected": " ten"},
]


def tokenized() -> list[dict]:
    """What TRL makes of texts."""
    with tempfile.TemporaryDirectory() as folder:
        args = DPOConfig(output_dir=folder, **ARGS | {"max_length": 8})
        trainer = DPOTrainer(model=base_model(), args=args, train_dataset=Dataset.from_list(TEXTS),
                             processing_class=plain_tokenizer(), peft_config=LoraConfig(r=1, target_modules=["c_attn"]))
    return [{k: row[k] for k in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in trainer.train_dataset]


def main() -> None:
    folder = clean_folder(FIXTURES / "preference")
    tensors, cases = {}, {}
    groups = [
        ("dpo", ready(DPOTrainer), DPOConfig, DPO, rows()),
        ("cpo", CPOTrainer, CPOConfig, CPO, None),
        ("orpo", ORPOTrainer, ORPOConfig, {"orpo": ({}, STEPS)}, None),
        ("kto", ready(KTOTrainer), KTOConfig, KTO, kto_rows(4)),
    ]
    for task, cls, config, group, data in groups:
        for name, (options, steps) in group.items():
            if data is None:
                # these trainers tokenize in their constructor, with `Dataset.map`
                original = cls.tokenize_row
                cls.tokenize_row = lambda self, row, **_: {f"{k}_{n}": v for k in ("chosen", "rejected")
                                                          for n, v in as_labels(row, k).items()}
                made = [row | {"prompt": "", "chosen": "", "rejected": ""} for row in rows()]
                logs, gradients = train(cls, config, made, steps, **options)
                cls.tokenize_row = original
            else:
                logs, gradients = train(cls, config, data, steps, **options)
            cases[name] = {"task": task, "options": options, "logs": logs}
            # all gradients of the cases of ten steps, a layer's of the others
            tensors |= {f"{name}.{k.removeprefix('base_model.model.')}": v for k, v in gradients.items()
                        if steps == STEPS or ".h.1." in k}
            print(name, [round(entry["loss"], 5) for entry in logs])
    facts = {"made_by": "tests/oracle/preference_fixture.py", "trl": trl.__version__,
             "args": {k: ARGS[k] for k in ("per_device_train_batch_size", "learning_rate", "max_length")},
             "rows": rows(), "kto_rows": [{k: r[k] for k in ("prompt_ids", "completion_ids", "label")} for r in kto_rows(4)],
             "texts": TEXTS, "tokenized": tokenized(), "cases": cases}
    save_expected(folder, tensors, facts)


if __name__ == "__main__":
    main()
