"""The chooser in torch: a causal language model with a LoRA adapter, read at the answer's place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from mapping.resolver.prompt import LETTERS
from mapping.resolver.types import Prompt

RANK = 16
ALPHA = 32


def load(base: Path, device: str) -> tuple[Any, Any]:
    """Tokenizer and model. `base`: a folder, or a .gguf file, of published weights."""
    folder, options = (base.parent, {"gguf_file": base.name}) if base.is_file() else (base, {})
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    return tokenizer, model.to(device)


def plain(model: Any) -> Any:
    """The same weights in a model of their own: one from a .gguf file cannot be trained."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = type(model)(config).to(model.device)
    fresh.load_state_dict(model.state_dict())
    return fresh


def with_adapter(model: Any, seed: int) -> PeftModel:
    """A new adapter on every linear layer, scaled by the root of its rank (rsLoRA)."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.05, target_modules="all-linear",
        use_rslora=True, task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def letter_ids(tokenizer: Any) -> list[int]:
    """Token of each letter where the answer begins. ValueError if one is no single token."""
    found = [tokenizer.encode(letter, add_special_tokens=False) for letter in LETTERS]
    if any(len(ids) != 1 for ids in found):
        raise ValueError("This tokenizer splits letters: choose another base model.")
    return [ids[0] for ids in found]


def encode(tokenizer: Any, prompts: Sequence[Prompt], device: str) -> tuple[Tensor, Tensor]:
    """Token ids, padded on the right (left padding gives NaN in bf16), and their lengths."""
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "system", "content": one.system}, {"role": "user", "content": one.user}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for one in prompts
    ]
    rows = tokenizer(chats, add_special_tokens=False)["input_ids"]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), tokenizer.pad_token_id)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids.to(device), lengths.to(device)


def answer_logits(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """Logits over the vocabulary where the answer begins: prompts x vocabulary, float32."""
    places = torch.arange(ids.shape[1], device=ids.device)
    mask = (places < lengths.unsqueeze(1)).long()
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    states = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    last = states[torch.arange(len(ids), device=ids.device), lengths - 1]
    return inner.lm_head(last).float()
