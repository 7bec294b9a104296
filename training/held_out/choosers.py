"""Asks a model that is not served yet: in this process, by the code of the embedded worker."""

from collections.abc import Sequence
from pathlib import Path

from mapping.inference.answers import choice_of
from mapping.resolver.prompt import LETTERS, build_prompt, prompt_version
from mapping.resolver.types import Choice, LabelQuestion, ModelIdentity, Option
from mapping.worker.weights import Adapter, Base


class LocalChooser:
    """A Chooser. Its numbers are those of the embedded worker, and so is the identity."""

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


def adapter_of(folder: Path, name: str) -> Adapter:
    """An adapter's folder under the name that it will be served by."""
    from mapping.worker.weights import adapter_in

    found = adapter_in(folder)
    return Adapter(found.folder, name, found.sha256)
