"""What the backends have in common."""

from typing import Any, Protocol

from mapping.inference.answers import inside
from mapping.inference.failures import rubbish
from mapping.inference.transport import Transport
from mapping.resolver.types import Choice, ModelIdentity, Prompt

# Stands in a template where the user's message goes.
_PLACE = "PILLARS-USER-MESSAGE"
# Tokenizers add the mark of the beginning themselves.
_BEGINNINGS = ("<|begin_of_text|>", "<s>")


class Backend(Protocol):
    """How one kind of server is asked. Used by many threads at once."""

    def verify(self, server: Transport, *, deadline: float) -> ModelIdentity:
        """Check which model the server runs, and learn what reading needs. InferenceError if it
        runs another one or does not answer."""
        ...

    def read(self, server: Transport, prompt: Prompt, *, salt: str, deadline: float) -> Choice:
        """One forward pass. Raises InferenceError."""
        ...


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """The chat of a prompt."""
    return [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": plain(prompt.user)},
    ]


def plain(text: str) -> str:
    """A vendor's text without anything that a tokenizer would take for the end of a message."""
    return text.replace("<|", "< |").replace("|>", "| >")


def split_template(rendered: Any) -> tuple[str, str]:
    """What a server's chat template puts before and after the user's message."""
    if not isinstance(rendered, str):
        raise rubbish()
    before, found, after = rendered.partition(_PLACE)
    if not found:
        raise rubbish()
    for beginning in _BEGINNINGS:
        before = before.removeprefix(beginning)
    return before, after


def template_chat(system: str) -> list[dict[str, str]]:
    """A chat to have rendered, for split_template()."""
    return [{"role": "system", "content": system}, {"role": "user", "content": _PLACE}]


def text_at(document: Any, *path: str | int) -> str:
    """A text in a server's answer; InferenceError if there is none."""
    value = inside(document, *path)
    if not isinstance(value, str):
        raise rubbish()
    return value
