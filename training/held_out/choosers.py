"""Ask a model that is no version yet, under the name that its version will be served by."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mapping.inference.answers import choice_of
from mapping.resolver.prompt import LETTERS, build_prompt, prompt_version
from mapping.resolver.types import (
    Choice,
    Chooser,
    ChooserError,
    LabelQuestion,
    ModelIdentity,
    Option,
)
from mapping.worker.weights import Adapter, Base


class LocalChooser:
    """In this process, by the code of the embedded worker: its numbers, and its identity."""

    def __init__(self, base: Base, adapter: Adapter) -> None:
        """Loads the model. Raises WeightsError if it cannot be."""
        from mapping.worker.model import LetterModel

        self._model = LetterModel(base, adapter)
        self.identity: ModelIdentity | None = ModelIdentity(
            backend="embedded",
            logprob_mode="raw",
            base=base.name,
            base_digest=base.sha256,
            adapter=adapter.name,
            adapter_digest=adapter.sha256,
            prompt=prompt_version(),
        )

    def choose(
        self, questions: Sequence[tuple[LabelQuestion, Sequence[Option]]], *, salt: str = ""
    ) -> list[Choice]:
        """One choice a question, in order."""
        return [self._read(question, options) for question, options in questions]

    def _read(self, question: LabelQuestion, options: Sequence[Option]) -> Choice:
        prompt = build_prompt(question, options)
        tokens = self._model.tokens_of(
            [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ]
        )
        letters = LETTERS[: len(prompt.names)]
        wanted = [self._model.letter_tokens[letter] for letter in letters]
        _, log_probs = self._model.log_probs(tokens, wanted)
        found = dict(zip(letters, log_probs, strict=True))
        return choice_of(found, letters, prompt.names, masked=False)


class ServedChooser:
    """On a server, where the adapter has another name for the time being."""

    def __init__(self, server: Chooser, name: str) -> None:
        """`name`: that its version will be served by."""
        self._server = server
        self._name = name
        self.failure: ChooserError | None = None  # the first one; also if the asker went on

    @property
    def identity(self) -> ModelIdentity | None:
        """The server's, but for the adapter's name. None while it has not been reached."""
        found = self._server.identity
        return None if found is None else replace(found, adapter=self._name)

    def choose(
        self, questions: Sequence[tuple[LabelQuestion, Sequence[Option]]], *, salt: str
    ) -> list[Choice]:
        """One choice a question, in order. Raises ChooserError."""
        try:
            return self._server.choose(questions, salt=salt)
        except ChooserError as error:
            self.failure = self.failure or error
            raise


def adapter_of(folder: Path, name: str) -> Adapter:
    """An adapter's folder under the name that it will be served by."""
    from mapping.worker.weights import adapter_in

    found = adapter_in(folder)
    return Adapter(found.folder, name, found.sha256)
