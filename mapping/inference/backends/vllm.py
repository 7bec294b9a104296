"""vLLM, and our own worker, which speaks vLLM's dialect.

The chat is sent as messages, so that the server's own tokenizer renders it with the template that
the model was trained with. The log-probabilities are asked for by token id: they are those of the
unconstrained model, whatever else is likely.
"""

from typing import Any

from mapping.inference.answers import choice_of, inside, log_prob, objects
from mapping.inference.backends.base import messages, text_at
from mapping.inference.failures import another_model, rubbish
from mapping.inference.options import InferenceOptions
from mapping.inference.transport import Transport
from mapping.resolver.prompt import LETTERS, prompt_version
from mapping.resolver.types import Choice, ModelIdentity, Prompt

_CHAT = "/v1/chat/completions"


class VllmBackend:
    """Reads letters by `logprob_token_ids`."""

    def __init__(self, options: InferenceOptions) -> None:
        self._options = options
        self._name = options.adapter or options.model
        self._tokens: dict[str, int] = {}
        self._learned_of: Any = None
        self._fingerprint: str | None = None

    def verify(self, server: Transport, *, deadline: float) -> ModelIdentity:
        """Which adapter stands on which base (`parent`), and the tokens of the letters."""
        card = self._card(server, deadline)
        parent = card.get("parent") if self._options.adapter else card.get("id")
        if parent != self._options.model:
            raise another_model(f"model {self._options.model!r} under {self._name!r}")
        self._tokens = self._learn_tokens(server, card, deadline)
        self._fingerprint = self._stated_fingerprint(card)
        return ModelIdentity(
            backend=self._options.backend,
            logprob_mode="raw",
            base=self._options.model,
            base_digest=self._digest(card, "base_sha256", self._options.model_digest),
            adapter=self._options.adapter,
            adapter_digest=self._digest(card, "adapter_sha256", self._options.adapter_digest),
            prompt=prompt_version(),
        )

    def read(self, server: Transport, prompt: Prompt, *, salt: str, deadline: float) -> Choice:
        """The letters' log-probabilities as the first token of the answer."""
        letters = LETTERS[: len(prompt.names)]
        tokens = {self._tokens[letter]: letter for letter in letters}
        answer = server.post(
            _CHAT,
            {
                "model": self._name,
                "messages": messages(prompt),
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": True,
                "logprob_token_ids": list(tokens),
                "return_tokens_as_token_ids": True,
                "cache_salt": salt,
            },
            deadline=deadline,
        )
        self._check_same_model(answer)
        found: dict[str, float] = {}
        first = inside(answer, "choices", 0, "logprobs", "content", 0)
        for entry in objects(inside(first, "top_logprobs")):
            letter = tokens.get(_token_id(entry.get("token")))
            if letter is not None:
                found[letter] = log_prob(entry.get("logprob"))
        if len(found) != len(letters):
            raise rubbish()
        return choice_of(found, letters, prompt.names, masked=False)

    def _card(self, server: Transport, deadline: float) -> dict[str, Any]:
        cards = objects(inside(server.get("/v1/models", deadline=deadline), "data"))
        for card in cards:
            if card.get("id") == self._name:
                return card
        raise another_model(f"model {self._name!r}")

    def _check_same_model(self, answer: Any) -> None:
        same = inside(answer, "model") == self._name
        if self._fingerprint:
            same = same and inside(answer, "system_fingerprint") == self._fingerprint
        if not same:
            raise another_model(f"model {self._name!r} any more")

    def _learn_tokens(
        self, server: Transport, card: dict[str, Any], deadline: float
    ) -> dict[str, int]:
        """Two chats whose messages are the letters, the second one moved on by one letter: where
        their tokens differ stand the letters, and each must be found twice."""
        if self._tokens and self._learned_of == card.get("root"):
            return self._tokens
        moved = LETTERS[1:] + LETTERS[0]
        first, second = (self._tokens_of(server, text, deadline) for text in (LETTERS, moved))
        if len(first) != len(second):
            raise rubbish()
        pairs = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
        tokens = dict(zip(LETTERS, (a for a, _ in pairs), strict=False))
        expected = [tokens.get(letter) for letter in moved]
        if len(set(tokens.values())) != len(LETTERS) or [b for _, b in pairs] != expected:
            raise rubbish()
        self._learned_of = card.get("root")
        return tokens

    def _tokens_of(self, server: Transport, letters: str, deadline: float) -> list[int]:
        roles = ("user", "assistant")
        chat = [{"role": roles[i % 2], "content": letter} for i, letter in enumerate(letters)]
        body = {
            "model": self._name,
            "messages": chat,
            "max_tokens": 1,
            "temperature": 0,
            "return_token_ids": True,
        }
        tokens = inside(server.post(_CHAT, body, deadline=deadline), "prompt_token_ids")
        if not isinstance(tokens, list) or not all(isinstance(one, int) for one in tokens):
            raise rubbish()
        return tokens

    def _stated_fingerprint(self, card: dict[str, Any]) -> str | None:
        """vLLM's own fingerprint is of its version, not of the weights."""
        return None

    def _digest(self, card: dict[str, Any], name: str, wanted: str) -> str:
        """vLLM states no digests. One that is wanted can only be trusted: it is the operator's."""
        return wanted


class EmbeddedBackend(VllmBackend):
    """Our own worker: it states digests and the letters' tokens."""

    def _learn_tokens(
        self, server: Transport, card: dict[str, Any], deadline: float
    ) -> dict[str, int]:
        tokens = card.get("letter_token_ids")
        if not isinstance(tokens, dict) or not all(
            isinstance(tokens.get(letter), int) for letter in LETTERS
        ):
            raise rubbish()
        return {letter: tokens[letter] for letter in LETTERS}

    def _stated_fingerprint(self, card: dict[str, Any]) -> str | None:
        return text_at(card, "fingerprint")

    def _digest(self, card: dict[str, Any], name: str, wanted: str) -> str:
        stated = text_at(card, name)
        if wanted and stated != wanted:
            raise another_model(f"model with the SHA-256 {wanted[:12]}…")
        return stated


_MOST_DIGITS = 10


def _token_id(token: Any) -> int:
    """The id in `token_id:49`; -1 for anything else."""
    if not isinstance(token, str) or not token.startswith("token_id:"):
        return -1
    number = token.removeprefix("token_id:")
    plain = number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS
    return int(number) if plain else -1
