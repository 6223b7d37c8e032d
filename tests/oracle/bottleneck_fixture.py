"""Makes tests/fixtures/bottleneck/<case>: adapters saved by AdapterHub's `adapters`, and what it computes with them.

In an environment of its own (requirements_adapters.txt). Run: python tests/oracle/bottleneck_fixture.py [case ...]
"""

import copy
import json
import sys

import adapters
import torch
from adapters import BnConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from adapters.methods import bottleneck as methods
from adapters.wrappers.interfaces import CUSTOM_INTERFACES
from fixture import (FIXTURES, adamw_losses, clean_folder, float32_error, loss_and_gradients, random_batch,
                     save_expected)
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

SEED = 41
LEARNING_RATE = 5e-3
NAME = "pirate"

CASES = {
    "seq_bn": SeqBnConfig(),
    "double_seq_bn": DoubleSeqBnConfig(),
    "par_bn": ParBnConfig(reduction_factor=6),
    "scaled_par_bn": ParBnConfig(reduction_factor=8, scaling="learned", init_weights="bert"),
    "norms": SeqBnConfig(ln_before=True, ln_after=True, adapter_residual_before_ln=True, non_linearity="gelu_new",
                         mh_adapter=True, init_weights="houlsby"),
    "uneven": BnConfig(mh_adapter=True, output_adapter=True, reduction_factor={"0": 12, "default": 5.5}, leave_out=[1],
                       non_linearity="tanh", scaling="channel", original_ln_before=True, residual_before_ln=False,
                       ln_after=True),
    "no_stream": SeqBnConfig(original_ln_after=False, residual_before_ln=False, non_linearity="leakyrelu", scaling=0.5),
}

# On tests/fixtures/llama/llama. Added later, with seeds of their own, so that no fixture above changes.
LLAMA_CASES = {
    "llama_seq_bn": SeqBnConfig(reduction_factor=4),
    "llama_double_seq_bn": DoubleSeqBnConfig(reduction_factor=4, leave_out=[0]),
    "llama_par_bn": ParBnConfig(reduction_factor=8),
}

# The rest of the family: Mistral is one of `adapters`' own models, the others are known to it by the names of their
# modules; SmolLM3's are Qwen's.
FAMILY_CASES = {
    "mistral_seq_bn": SeqBnConfig(reduction_factor=4),
    "qwen2_double_seq_bn": DoubleSeqBnConfig(reduction_factor=4),
    "qwen2_par_bn": ParBnConfig(reduction_factor=8),
    "qwen3_seq_bn": SeqBnConfig(reduction_factor=4),
    "smollm3_double_seq_bn": DoubleSeqBnConfig(reduction_factor=4, leave_out=[1]),
    "gemma3_seq_bn": SeqBnConfig(reduction_factor=4),
    "gemma3_double_seq_bn": DoubleSeqBnConfig(reduction_factor=4),
    "gemma3_par_bn": ParBnConfig(reduction_factor=8, mh_adapter=True),
    "gemma3_norms": SeqBnConfig(ln_before=True, ln_after=True, residual_before_ln=False, mh_adapter=True,
                                non_linearity="gelu_new", scaling="channel"),
}


def load(base: str) -> AutoModelForCausalLM:
    """The model in the transformers of this environment, which knows rotary parameters by older names."""
    config = AutoConfig.from_pretrained(FIXTURES / base)
    rope = json.loads((FIXTURES / base / "config.json").read_text()).get("rope_parameters", {})
    if "full_attention" in rope:
        config.rope_theta = rope["full_attention"]["rope_theta"]
        config.rope_local_base_freq = rope["sliding_attention"]["rope_theta"]
    elif rope:
        config.rope_theta = rope["rope_theta"]
    return AutoModelForCausalLM.from_pretrained(FIXTURES / base, config=config, attn_implementation="eager").eval()


def own_norms(model) -> None:
    """Gives every block's hooks its own norms: `adapters` 1.3 looks up the loop's variable late, the last block's."""
    interface = model.base_model.adapter_interface
    for _, layer in model.base_model.iter_layers():
        for name, places in (("layer_ln_1", (layer.self_attn.o_proj,)), ("layer_ln_2", (layer.mlp.down_proj,))):
            norm = getattr(layer, getattr(interface, name))
            for module in places:
                for key, hook in module._forward_hooks.items():
                    if getattr(hook, "func", None) is methods.hook_fn:
                        module._forward_hooks[key] = methods.partial(methods.hook_fn, hook.args[0], lambda norm=norm: norm)


def make(case: str, config: BnConfig, seed: int, base: str = "gpt2_tiny") -> None:
    if len(sys.argv) > 1 and case not in sys.argv[1:]:
        return
    torch.manual_seed(seed)
    model = load(base)
    model.name_or_path = model.config._name_or_path = base.split("/")[-1]
    adapters.init(model, interface=CUSTOM_INTERFACES["qwen3"] if "smollm3" in base else None)
    if "gemma3" in base:
        own_norms(model)
    model.add_adapter(NAME, config=config)
    model.train_adapter(NAME)
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder = clean_folder(FIXTURES / "bottleneck" / case)
    try:
        model.save_adapter(str(folder), NAME, with_head=False, use_safetensors=True)
    except RuntimeError as error:  # a norm on the input stands in the state dict twice, which safetensors refuses
        assert "share memory" in str(error) and config.ln_before, error
        state = {k: v.clone() for k, v in model.state_dict().items() if f".adapters.{NAME}." in k}
        save_file(state, folder / "adapter.safetensors")
    ids, labels = random_batch(model.config.vocab_size, 2, 12, seed)
    model64 = copy.deepcopy(model).double()
    logits, loss, gradients = loss_and_gradients(model64, ids, labels)
    # A deep copy of an `adapters` model keeps its setup in the original: each run starts from the file's values.
    # With its cache, Llama of `adapters` 1.3 does not give what its own forward gives.
    generated = model.generate(input_ids=ids[:1, :5], attention_mask=torch.ones(1, 5, dtype=torch.long),
                               use_cache=base == "gpt2_tiny", do_sample=False, max_new_tokens=10, eos_token_id=None,
                               pad_token_id=0)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    save_expected(folder, {"logits": logits} | {f"grad.{n}": g for n, g in gradients.items()}, {
        "made_by": "tests/oracle/bottleneck_fixture.py",
        "base": f"../../{base}",
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "loss": loss.item(),
        "trainable": trainable,
        "adamw": {"lr": LEARNING_RATE, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8,
                  "losses": adamw_losses(copy.deepcopy(model64), ids, labels, lr=LEARNING_RATE)},
        "greedy": generated.tolist(),
        "float32_error": float32_error(model, model64, ids, labels),
    })
    error = json.loads((folder / "expected.json").read_text())["float32_error"]
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{case}: {trainable} train, loss {loss.item():.6f}, {size} bytes, float32 error {error}")


if __name__ == "__main__":
    for i, (case, config) in enumerate(CASES.items()):
        make(case, config, SEED + i)
    for i, (case, config) in enumerate(LLAMA_CASES.items()):
        make(case, config, SEED + 100 + i, "llama/llama")
    for i, (case, config) in enumerate(FAMILY_CASES.items()):
        make(case, config, SEED + 200 + i, f"llama/{case.split('_')[0]}")
