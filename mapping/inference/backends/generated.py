"""Any server that speaks OpenAI's chat protocol and keeps to a JSON Schema, without token scores.

The model writes `{"option": NAME}`. That is slower by an order of magnitude than reading a letter,
and says nothing about how sure the model is: the chosen option gets all but a trace of the
probability, so a calibrator for this mode knows only how often the model is right.
"""

import math
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator

from mapping.inference.answers import inside, objects
from mapping.inference.backends.base import plain, text_at
from mapping.inference.failures import InferenceError, another_model, rubbish
from mapping.inference.options import InferenceOptions
from mapping.inference.transport import Transport
from mapping.resolver.prompt import prompt_version
from mapping.resolver.types import Choice, ModelIdentity, Prompt

SYSTEM: Final = (
    "A safety detector reported a label. Choose the option that names the same thing. "
    'Answer in JSON with the option\'s name: {"option": "NAME"}'
)
_TRACE: Final = 1e-6  # what all other options get together
_MAX_TOKENS: Final = 96
_SETTINGS: Final = ({"temperature": 0.0, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9})


class GeneratedBackend:
    """Has the answer written, checks it, and asks once more with other settings if it is none."""

    def __init__(self, options: InferenceOptions) -> None:
        self._options = options
        self._name = options.adapter or options.model

    def verify(self, server: Transport, *, deadline: float) -> ModelIdentity:
        """The model's name alone: this dialect states no more."""
        cards = objects(inside(server.get("/v1/models", deadline=deadline), "data"))
        if not any(card.get("id") == self._name for card in cards):
            raise another_model(f"model {self._name!r}")
        return ModelIdentity(
            backend=self._options.backend,
            logprob_mode="generated",
            base=self._options.model,
            base_digest=self._options.model_digest,
            adapter=self._options.adapter,
            adapter_digest=self._options.adapter_digest,
            prompt=f"{prompt_version()}-json",
        )

    def read(self, server: Transport, prompt: Prompt, *, salt: str, deadline: float) -> Choice:
        """The option that the model names."""
        schema = schema_of(prompt)
        for number, settings in enumerate(_SETTINGS):
            answer = server.post(
                "/v1/chat/completions", self._body(prompt, schema, settings), deadline=deadline
            )
            try:
                return _certain(_named(answer, schema), prompt.names)
            except InferenceError:
                if number == len(_SETTINGS) - 1:
                    raise
        raise rubbish()

    def _body(
        self, prompt: Prompt, schema: dict[str, Any], settings: dict[str, float]
    ) -> dict[str, Any]:
        return {
            "model": self._name,
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": named_options(prompt)},
            ],
            "max_tokens": _MAX_TOKENS,
            **settings,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "choice", "strict": True, "schema": schema},
            },
        }


def schema_of(prompt: Prompt) -> dict[str, Any]:
    """JSON Schema of the answers to a prompt."""
    return {
        "type": "object",
        "properties": {"option": {"type": "string", "enum": list(prompt.names)}},
        "required": ["option"],
        "additionalProperties": False,
    }


def named_options(prompt: Prompt) -> str:
    """The user's message with the options' names in place of their letters."""
    lines = prompt.user.split("\n")
    head, options = lines[: -len(prompt.names)], lines[-len(prompt.names) :]
    named = [f"{name} = {line[2:]}" for name, line in zip(prompt.names, options, strict=True)]
    return plain("\n".join([*head, *named]))


def _named(answer: Any, schema: dict[str, Any]) -> str:
    try:
        document = orjson.loads(text_at(answer, "choices", 0, "message", "content"))
    except ValueError:
        raise rubbish() from None
    if not Draft202012Validator(schema).is_valid(document):
        raise rubbish()
    return str(document["option"])


def _certain(chosen: str, names: tuple[str, ...]) -> Choice:
    if len(names) == 1:
        return Choice({chosen: 0.0}, 1.0)
    other = math.log(_TRACE / (len(names) - 1))
    sure = math.log(1.0 - _TRACE)
    return Choice({name: sure if name == chosen else other for name in names}, 1.0)
