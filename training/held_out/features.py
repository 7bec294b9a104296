"""What retrieval says about held-out questions, as if it had not seen their vendors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mapping.evaluation.cases import Question
from mapping.evaluation.folds import Folds, FoldsError
from mapping.resolver.glossary import Glossary
from mapping.resolver.retrieve import Array, Encoder, KnownLabel, Retriever
from training.held_out.questions import HeldOut


class Seen(NamedTuple):
    """Features of questions, in order, and of how many the encoder had learnt from the vendor."""

    values: list[Array]  # answers x features each
    by_encoder: int


class Retrieval:
    """Retrieval with the vendor of each question left out.

    The encoder's cosines are those of the fold that had not seen the vendor, where such scores are
    kept (mapping.evaluation.folds); a label without them is put to the encoder that is served.
    """

    def __init__(
        self,
        taxonomy: Mapping[str, Any],
        known: Sequence[KnownLabel],
        vendors: Mapping[str, str],
        encoder: Encoder,
        glossary: Glossary,
        folds: Folds | None,
    ) -> None:
        """`vendors`: by detector, of the known labels' files; without one: the detector itself."""
        self._served = Retriever(taxonomy, known, encoder, glossary)
        self._lexical = Retriever(taxonomy, known, None, glossary)
        self._folds = folds if folds is not None and folds.names == self._served.names else None
        self._of_vendor: dict[str, frozenset[str]] = {}
        for vendor in set(vendors.values()):
            mine = frozenset(name for name, other in vendors.items() if other == vendor)
            self._of_vendor[vendor] = mine

    @property
    def names(self) -> Sequence[str]:
        """The answers, in the order of the features."""
        return self._served.names

    def features(self, asked: Sequence[HeldOut]) -> Seen:
        """Of each question."""
        values, by_encoder = [], 0
        for one in asked:
            hidden = self._of_vendor.get(one.vendor, frozenset()) | {one.detector}
            found = self._unseen(one, hidden)
            if found is None:
                by_encoder += 1
                found = self._served.features(one.question, hidden)
            values.append(found)
        return Seen(values, by_encoder)

    def _unseen(self, one: HeldOut, hidden: frozenset[str]) -> Array | None:
        if self._folds is None:
            return None
        asked = one.question
        question = Question(
            id="", detector=asked.detector, detector_version=None, category=asked.category or None,
            output=one.source, description=asked.description,
        )  # fmt: skip
        try:
            cosines = self._folds.of("vendor_cosines", question)
            near = self._folds.of("vendor_neighbours", question)
        except FoldsError:
            return None
        found = self._lexical.features(asked, hidden)
        found[:, 0] = cosines
        found[:, 1] = near.clip(min=0)
        return found
