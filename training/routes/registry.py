"""Every route by its name, and how it is trained unless the command line says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from training.routes.base import Lessons, Route, Settings
from training.routes.biencoder import BiEncoder
from training.routes.crossencoder import CrossEncoder
from training.routes.head import Head
from training.routes.letters import Letters, Published
from training.routes.names import Pairwise, Trie

Kind: TypeAlias = Literal["bi", "published", "cross", "letters", "pairwise", "trie", "head"]

# Chosen without comparing others: of the encoder and the letters as they are shipped, the others
# by analogy.
_BI: Final = Settings(epochs=6, batch=256, rate=2e-4)
_CROSS: Final = Settings(epochs=6, batch=16, rate=1e-4)
_LANGUAGE: Final = Settings(epochs=4, batch=32, rate=4e-4, warm_up=0.05)


@dataclass(frozen=True, slots=True)
class Entry:
    """A route's kind and settings."""

    kind: Kind
    settings: Settings
    about: str

    @property
    def wants_model(self) -> bool:
        """Whether it needs a language model rather than an encoder."""
        return self.kind in ("letters", "pairwise", "trie", "head")


def _bi(about: str, **options: Any) -> Entry:
    return Entry("bi", replace(_BI, options=options), about)


FIRST: Final = "bi-encoder"  # its shortlists are those of all routes
ROUTES: Final[Mapping[str, Entry]] = {
    "published": Entry("published", replace(_BI, epochs=0), "the published encoder, untuned"),
    FIRST: _bi("as shipped"),
    "bi-several-texts": _bi("nearest of several texts an answer", texts="several"),
    "bi-soup": _bi("weights of three seeds averaged", soup=3),
    "bi-average": _bi("weights of the last quarter of the steps averaged", average=0.25),
    "bi-mined": _bi("a second round against near examples", mined=0.5),
    "bi-smoothed": _bi("a tenth of each target on the rest of the branch", smoothing=0.1),
    "bi-clauses": _bi("clauses of descriptions dropped at random", kept=0.7),
    "bi-distilled": _bi("half of the loss follows a cross-encoder", distilled=0.5),
    "bi-all": _bi(
        "several texts, three seeds, second round, clauses dropped, distilled",
        texts="several", soup=3, mined=0.5, kept=0.7, distilled=0.5,
    ),
    "cross-encoder": Entry("cross", _CROSS, "label and answer read together; first token's state"),
    "cross-encoder-mean": Entry(
        "cross", replace(_CROSS, options={"pooling": "mean"}), "the same, mean of the states"
    ),
    "letters": Entry("letters", _LANGUAGE, "the letter of the right option, as shipped"),
    "pairwise": Entry(
        "pairwise", replace(_LANGUAGE, epochs=3, batch=16, negatives=7),
        "mean log-probability of the name's tokens",
    ),
    "trie": Entry("trie", _LANGUAGE, "all names down a tree of tokens"),
    "head": Entry("head", _LANGUAGE, "state compared with those of the answers' texts"),
    "head-classes": Entry(
        "head", replace(_LANGUAGE, options={"labels": "classes"}), "a linear layer over the answers"
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bases:
    """Folders (or a .gguf file) of published weights."""

    encoder: Path
    model: Path | None


def make(
    entry: Entry, texts: Mapping[str, str], taxonomy: Mapping[str, Any], bases: Bases, device: str
) -> Route:
    """A new route. ValueError without the weights that it begins with."""
    settings = entry.settings
    if entry.wants_model:
        if bases.model is None:
            raise ValueError("This route wants a language model: --base-model.")
        kinds: Mapping[str, Any] = {
            "letters": Letters, "pairwise": Pairwise, "trie": Trie, "head": Head,
        }  # fmt: skip
        made: Route = kinds[entry.kind](texts, taxonomy, bases.model, device, settings)
        return made
    if entry.kind == "bi":

        def teacher(lessons: Lessons) -> Route:
            cross = replace(_CROSS, seed=settings.seed, epochs=min(_CROSS.epochs, settings.epochs))
            found = CrossEncoder(texts, taxonomy, bases.encoder, device, cross)
            found.train(lessons)
            return found

        return BiEncoder(texts, taxonomy, bases.encoder, device, settings, teacher)
    plain = {"cross": CrossEncoder, "published": Published}[entry.kind]
    return plain(texts, taxonomy, bases.encoder, device, settings)
