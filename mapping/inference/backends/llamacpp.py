"""llama.cpp's server.

`n_probs` gives the most probable tokens before any sampler. A letter that is not among them counts
with the least of them: more than it has, and next to nothing.
"""

from pathlib import PurePosixPath
from typing import Final

from mapping.inference.answers import choice_of, inside, log_prob, objects
from mapping.inference.backends.base import plain, split_template, template_chat, text_at
from mapping.inference.failures import another_model, rubbish
from mapping.inference.options import InferenceOptions
from mapping.inference.transport import Transport
from mapping.resolver.prompt import LETTERS, SYSTEM, prompt_version
from mapping.resolver.types import Choice, ModelIdentity, Prompt

_TOP_TOKENS: Final = 256


class LlamaCppBackend:
    """Reads letters out of the most probable tokens."""

    def __init__(self, options: InferenceOptions) -> None:
        self._options = options
        self._template = ("", "")
        self._lora: list[dict[str, float]] = []

    def verify(self, server: Transport, *, deadline: float) -> ModelIdentity:
        """The model's alias, the adapter's file name, and the chat template."""
        cards = objects(inside(server.get("/v1/models", deadline=deadline), "data"))
        if not any(card.get("id") == self._options.model for card in cards):
            raise another_model(f"model {self._options.model!r}")
        self._lora = self._find_adapter(server, deadline)
        chat = {"messages": template_chat(SYSTEM)}
        rendered = server.post("/apply-template", chat, deadline=deadline)
        self._template = split_template(inside(rendered, "prompt"))
        return ModelIdentity(
            backend="llamacpp",
            logprob_mode="raw",
            base=self._options.model,
            base_digest=self._options.model_digest,
            adapter=self._options.adapter,
            adapter_digest=self._options.adapter_digest,
            prompt=prompt_version(),
        )

    def _find_adapter(self, server: Transport, deadline: float) -> list[dict[str, float]]:
        wanted = self._options.adapter
        if not wanted:
            return []
        for adapter in objects(server.get("/lora-adapters", deadline=deadline)):
            number = adapter.get("id")
            if PurePosixPath(text_at(adapter, "path")).stem == wanted and isinstance(number, int):
                return [{"id": number, "scale": 1.0}]
        raise another_model(f"adapter {wanted!r}")

    def read(self, server: Transport, prompt: Prompt, *, salt: str, deadline: float) -> Choice:
        """The letters' log-probabilities as the first token of the answer."""
        letters = LETTERS[: len(prompt.names)]
        before, after = self._template
        body = {
            "prompt": before + plain(prompt.user) + after,
            "n_predict": 1,
            "temperature": -1.0,  # greedy, and the probabilities are the model's own
            "n_probs": _TOP_TOKENS,
            # A kept prompt may be another tenant's, and changes the last digits of an answer.
            "cache_prompt": False,
            "lora": self._lora,
        }
        answer = server.post("/completion", body, deadline=deadline)
        top = objects(inside(answer, "completion_probabilities", 0, "top_logprobs"))
        numbers = {str(one.get("token")): log_prob(one.get("logprob")) for one in top}
        if not numbers:
            raise rubbish()
        least = min(numbers.values())
        found = {letter: numbers.get(letter, least) for letter in letters}
        return choice_of(found, letters, prompt.names, masked=False)
