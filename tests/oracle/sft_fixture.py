"""Makes tests/fixtures/sft: ten steps of TRL's SFTTrainer on the demo's model with a LoRA adapter, for every form of rows.

All rows are one batch, so that their order does not matter. The model runs in float64; losses are those of
`compute_loss`, gradients those of the first step before clipping, which is switched off.

Run: python tests/oracle/sft_fixture.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from fixture import FIXTURES, clean_folder
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

MODEL = Path(__file__).resolve().parents[2] / "examples/demo/model"
FOLDER = FIXTURES / "sft"
SEED = 1200
STEPS = 10
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ':' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ ' ' + m['content'] + '<|endoftext|>' }}{% endgeneration %}"
    "{% else %}{{ ' ' + m['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
TEXTS = [
    "The captain looked at the sea.",
    "A storm came up, and the ship went down with all hands before the morning, so that nobody saw the light of the house.",
    "No wind",
    "The crew sang of gold and of the sea, and of home.<|endoftext|>",
]
COMPLETIONS = [
    {"prompt": "Where is the gold?", "completion": " On the island."},
    {"prompt": "Who are you? ", "completion": "A pirate, and the captain of this ship."},
    {"prompt": "Sing", "completion": "ing, we go to sea"},
    {"prompt": "Tell me all that you know of the sea, of ships, of the wind and of the stars, my old friend:", "completion": " No."},
]


def message(role: str, content: str) -> dict:
    return {"role": role, "content": content}


CHATS = [
    [message("system", "Be brief."), message("user", "Who are you?"), message("assistant", "A pirate."),
     message("user", "Where is the gold?"), message("assistant", "On the island, of course.")],
    [message("user", "Where is the ship?"), message("assistant", "In the harbour.")],
    [message("user", "Sing of the sea, of the wind, of the gold, of the captain and of home."), message("assistant", "No."),
     message("user", "Please.")],
]
CASES = {
    "text": ([{"text": text} for text in TEXTS], dict(max_length=24)),
    "completion": (COMPLETIONS, dict(max_length=24)),
    "completion_whole": (COMPLETIONS, dict(max_length=24, completion_only_loss=False)),
    "completion_dft": (COMPLETIONS, dict(max_length=24, loss_type="dft")),
    "completion_messages": ([{"prompt": chat[:-1], "completion": chat[-1:]} for chat in CHATS[:2]], {}),
    "messages": ([{"messages": chat} for chat in CHATS], {}),
    "assistant": ([{"messages": chat} for chat in CHATS], dict(assistant_only_loss=True, max_length=40)),
    "packed_bfd": ([{"text": text} for text in TEXTS], dict(packing=True, max_length=24)),
    "packed_split": ([{"text": text} for text in TEXTS], dict(packing=True, packing_strategy="bfd_split", max_length=24)),
    "packed_wrapped": ([{"text": text} for text in TEXTS], dict(packing=True, packing_strategy="wrapped", max_length=24)),
}


class Recorder(SFTTrainer):
    """Remembers every loss."""

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


class FirstGradients(TrainerCallback):
    def __init__(self):
        self.gradients = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == 0:
            self.gradients = {n: p.grad.float().clone() for n, p in model.named_parameters() if p.requires_grad}


def make_adapter() -> None:
    torch.manual_seed(SEED)
    base = AutoModelForCausalLM.from_pretrained(MODEL)
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=4, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"))
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    model.peft_config["default"].base_model_name_or_path = "demo"
    model.save_pretrained(FOLDER / "adapter")
    (FOLDER / "adapter" / "README.md").unlink()


def main() -> None:
    clean_folder(FOLDER)
    make_adapter()
    expected = {"made_by": "tests/oracle/sft_fixture.py", "template": TEMPLATE, "cases": {}}
    gradients = {}
    output = tempfile.mkdtemp()
    for name, (rows, settings) in CASES.items():
        tokenizer = AutoTokenizer.from_pretrained(MODEL)
        tokenizer.chat_template = TEMPLATE
        base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64, attn_implementation="eager")
        model = PeftModel.from_pretrained(base, FOLDER / "adapter", is_trainable=True).double()
        args = SFTConfig(
            output_dir=output, per_device_train_batch_size=16, max_steps=STEPS, learning_rate=1e-2, max_grad_norm=1e9,
            bf16=False, use_cpu=True, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True, **settings,
        )
        first = FirstGradients()
        trainer = Recorder.__new__(Recorder)
        trainer.losses = []
        trainer.__init__(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[first])
        trainer.train()
        data = trainer.train_dataset
        expected["cases"][name] = {
            "rows": rows,
            "settings": settings,
            "examples": [{"input_ids": row["input_ids"], "labels": row["labels"]} | ({"lengths": row["seq_lengths"]} if "seq_lengths" in row else {}) for row in data],
            "losses": trainer.losses,
            "grad_norms": [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry],
            "num_tokens": [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry],
            "mean_token_accuracy": [entry["mean_token_accuracy"] for entry in trainer.state.log_history if "mean_token_accuracy" in entry],
            "entropy": [entry["entropy"] for entry in trainer.state.log_history if "entropy" in entry],
        }
        gradients |= {f"{name}.{key.removeprefix('base_model.model.')}": value for key, value in first.gradients.items()}
        print(name, len(data), [round(loss, 4) for loss in trainer.losses])
    save_file(gradients, FOLDER / "gradients.safetensors")
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    shutil.rmtree(output, ignore_errors=True)


if __name__ == "__main__":
    main()
