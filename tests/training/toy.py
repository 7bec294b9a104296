"""Models and data of toy size: real architectures with random weights, tokenizers of their own."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as Fast

from mapping.resolver import prompt as letters
from mapping.resolver.texts import candidates
from training.encoder import data
from training.encoder.data import Dataset, Example
from training.routes.llm import SYSTEM, name_text

_THINGS = {
    "PII.Contact": ["Email", "Phone", "Address", "Website"],
    "PII.Person": ["Name", "Age", "Gender", "Job"],
    "HARM.Speech": ["Insult", "Threat", "Slur", "Other"],
    "HARM.Violence": ["Weapon", "Torture", "Animal", "Other"],
    "SECRET": ["Password", "Token", "Key", "Webhook"],
    "SECURITY.Code": ["Injection", "Crypto", "Memory", "Other"],
    "QUALITY": ["Refusal", "Hallucination", "Typo", "Other"],
}
_VENDORS = ("acme", "bolt", "crux", "dyne", "eons", "flux", "gale")
_FORMS = ("{}", "{}_detected", "has-{}", "{} found", "contains {}", "{}Finding", "is_{}")
_TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def taxonomy() -> dict[str, Any]:
    """28 labels."""
    labels = {
        f"{branch}.{leaf}": {
            "meaning": f"{leaf} of the kind {branch.replace('.', ' ').lower()}.",
            "boundary": "" if leaf == "Other" else f"Not another {branch.rpartition('.')[2]}.",
            "aliases": [] if leaf == "Other" else [f"{leaf.lower()} thing"],
        }
        for branch, leaves in _THINGS.items()
        for leaf in leaves
    }
    return {"edition": "2026.11", "labels": labels}


def dataset() -> Dataset:
    """Every label but the Other ones, once for each of seven vendors."""
    known = taxonomy()
    examples = [
        Example(
            f"{vendor}-guard", vendor, "guard", form.format(name.rpartition(".")[2].lower()), (),
            f"A {name.rpartition('.')[2].lower()} was seen, by {vendor}.", (name,),
        )
        for vendor, form in zip(_VENDORS, _FORMS, strict=True)
        for name in known["labels"]
        if not name.endswith("Other")
    ]  # fmt: skip
    aliases = [
        Example("taxonomy", "", "", alias, (), "", (name,))
        for name, entry in known["labels"].items()
        for alias in entry["aliases"]
    ]
    return Dataset(examples, aliases, candidates(known))


def write_data(folder: Path) -> None:
    """As `python -m training.routes` reads it."""
    data.write(folder / "dataset.json", dataset())
    (folder / "taxonomy.json").write_text(json.dumps(taxonomy()))


def _texts() -> list[str]:
    known = dataset()
    spoken = [SYSTEM, letters.SYSTEM, "Kind of detector: guard", *map(name_text, known.texts)] * 3
    return [
        *spoken,
        *known.texts.values(),
        *(f"{one.label} {one.description}" for one in known.examples),
    ]


def _word_pieces() -> dict[str, int]:
    """Every word and letter. A trainer would break ties otherwise in each process."""
    words = sorted({word for text in _texts() for word in re.findall(r"[a-z0-9]+", text.lower())})
    letters_of = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters_of,
              *(f"##{letter}" for letter in letters_of)]  # fmt: skip
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


def write_encoder(folder: Path) -> None:
    """A BERT of one layer."""
    whole = Tokenizer(models.WordPiece(_word_pieces(), unk_token="[UNK]"))
    whole.normalizer = normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    whole.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    Fast(
        tokenizer_object=whole, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=whole.get_vocab_size(), hidden_size=48, num_hidden_layers=1,
            num_attention_heads=4, intermediate_size=96, max_position_embeddings=192,
        ),
        add_pooling_layer=False,
    ).save_pretrained(folder)  # fmt: skip


def write_model(folder: Path) -> None:
    """A Llama of two layers that knows single letters."""
    whole = Tokenizer(models.BPE())
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    whole.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=700, special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    tokenizer = Fast(tokenizer_object=whole, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=whole.get_vocab_size(), hidden_size=48, intermediate_size=96,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=1024, tie_word_embeddings=True,
        )
    ).save_pretrained(folder)  # fmt: skip
