"""What is compared: predictors that see a question, and all detector files but those held out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from mapping.engine import DetectorOutput, Engine, Knowledge
from mapping.engine.descriptions import CONFIDENCE as DESCRIBED
from mapping.engine.detectors import DEFAULT_THRESHOLD
from mapping.engine.foreign import read_foreign
from mapping.engine.formats import UNPARSED
from mapping.engine.propose import Proposer, spelling
from mapping.engine.recipes import parse
from mapping.engine.sink import Sink
from mapping.engine.types import UNKNOWN
from mapping.evaluation.cases import Question
from mapping.evaluation.metrics import parent
from taxonomy.agreement import of_entry

Names = frozenset[str]


class Example(NamedTuple):
    """A label of a detector file and what the file says of it."""

    detector: str
    label: str
    aliases: tuple[str, ...]
    meaning: str
    answer: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What predictors may learn from. Detectors that are held out are named with each question."""

    taxonomy: Mapping[str, Any]
    detectors: Mapping[str, Mapping[str, Any]]  # by name: the parsed files

    @property
    def examples(self) -> list[Example]:
        """Every label of every file."""
        return [
            Example(name, label, tuple(entry.get("aliases", ())), entry.get("meaning", ""), answer)
            for name, file in self.detectors.items()
            for label, entry in file["labels"].items()
            if (answer := of_entry(entry))
        ]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one question. Holds nothing of a raw output but what it was mapped to."""

    id: str
    labels: tuple[str, ...] = ()  # the first is the top-1; empty if it abstained
    confidence: float = 0.0  # 0 to 1; what it stands for differs by predictor
    method: str = "none"
    top5: tuple[tuple[str, float], ...] = ()
    abstained: bool = True
    latency_ms: float = 0.0

    @property
    def parent(self) -> str | None:
        """Of the first label."""
        return parent(self.labels[0]) if self.labels else None

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "id": self.id,
            "labels": self.labels,
            "confidence": round(self.confidence, 6),
            "method": self.method,
            "top5": [[label, round(score, 6)] for label, score in self.top5],
            "parent": self.parent,
            "abstained": self.abstained,
            "latency_ms": round(self.latency_ms, 3),
        }


class Predictor(Protocol):
    """Answers questions. Deterministic: the same question and files give the same answer."""

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """Answer as if the files of the detectors in `held_out` did not exist."""
        ...


class Vote(NamedTuple):
    """What a predictor says of one source label. `ranking`: labels with scores, best first."""

    labels: tuple[str, ...]
    confidence: float
    method: str
    ranking: tuple[tuple[str, float], ...]


def source_labels(output: Any) -> list[str]:
    """The detector's own labels in an output of unknown shape.

    A text of one line that holds no structure is one label. No raw text leaves this call.
    """
    parsed = parse(output)
    if parsed.value is UNPARSED and parsed.text is not None and "\n" not in parsed.text.strip():
        return [parsed.text.strip()]
    sink = Sink()
    read_foreign(parsed.value, parsed.text, DEFAULT_THRESHOLD, 0, sink)
    found = [key for key in sink.hits if isinstance(key, str)]
    if not found and isinstance(output, str) and "\n" not in output.strip():
        return [output.strip()]  # brackets round a label are no list: `[GEval]`
    return found


def merge(question: Question, votes: Sequence[Vote | None]) -> Prediction:
    """One prediction from what was said of each source label; None was an abstention.

    The confidence is the lowest one: the answer is right only if all of it is.
    """
    made = [vote for vote in votes if vote is not None]
    if not made:
        return Prediction(question.id)
    scores: dict[str, float] = {}
    for vote in made:
        for label, score in vote.ranking:
            scores[label] = max(score, scores.get(label, 0.0))
    # First what was answered, then the others by score.
    answered = tuple(dict.fromkeys(label for vote in made for label in vote.labels))
    others = sorted((one for one in scores if one not in answered), key=lambda one: -scores[one])
    ranking = [(label, scores.get(label, 0.0)) for label in (*answered, *others)]
    confidence = min(vote.confidence for vote in made)
    return Prediction(
        question.id, answered, confidence, made[0].method, tuple(ranking[:5]), abstained=False
    )


class RulesPredictor:
    """Rules alone: the detector's own file where it is not held out, then names and aliases.

    A label, or else its description, must be the name (or its last part, if only one label has it)
    or an alias of a canonical label. Confidence is 1 by policy; 0.7 for a description.
    """

    def __init__(self, known: Known) -> None:
        self._knowledge = Knowledge.from_documents(known.taxonomy, known.detectors.values(), (), ())
        self._engine = Engine(self._knowledge)
        self._names = taxonomy_names(known.taxonomy)

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        detector = self._knowledge.find_detector(question.detector, question.detector_version)
        if detector is not None and detector.name not in held_out:
            return self._by_file(question, detector.name)
        labels = source_labels(question.output)
        # A description is of one label: with several, nobody can say of which.
        description = question.description if len(labels) == 1 else ""
        return merge(question, [self._by_name(label, description) for label in labels])

    def _by_file(self, question: Question, detector: str) -> Prediction:
        output = DetectorOutput(detector, question.output)
        # The answer is compared and dropped: what may not be recorded needs no keyed hash.
        result = self._engine.map(output, hash_text=lambda _text: "0" * 32)
        labels = tuple(label for label in result.taxonomy if label != UNKNOWN)
        if not labels:
            return Prediction(question.id)
        sure = result.confidence
        ranking = tuple((label, sure) for label in labels)
        return merge(question, [Vote(labels, sure, "rule", ranking)])

    def _by_name(self, label: str, description: str) -> Vote | None:
        for text, sure, method in (
            (label, 1.0, "name"), (description.strip(" ."), DESCRIBED, "description"),
        ):  # fmt: skip
            found = self._names.get(spelling(text)) if text else None
            if found is not None:
                return Vote((found,), sure, method, ((found, sure),))
        return None


def taxonomy_names(taxonomy: Mapping[str, Any]) -> dict[str, str]:
    """Canonical labels by the spelling of name, last part (if unique) and aliases."""
    labels = taxonomy["labels"]
    times = Counter(spelling(_last(name)) for name in labels)
    names = {
        spelling(_last(name)): name
        for name in labels
        if times[spelling(_last(name))] == 1 and _last(name) != "Other"
    }
    names |= {spelling(alias): name for name, entry in labels.items() for alias in entry["aliases"]}
    names |= {spelling(name): name for name in labels}
    return {text: name for text, name in names.items() if text}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


class NeighboursPredictor:
    """What the other detectors' files say of a label of the same spelling, by majority.

    Every file has one vote. Confidence is the share of files that say so, 1 where a single file
    knows the label: no probability.
    """

    def __init__(self, known: Known) -> None:
        self._votes: dict[str, list[Example]] = {}
        for example in known.examples:
            for text in {spelling(text) for text in (example.label, *example.aliases)} - {""}:
                self._votes.setdefault(text, []).append(example)

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor."""
        labels = source_labels(question.output)
        return merge(question, [self._vote(spelling(label), held_out) for label in labels])

    def _vote(self, text: str, held_out: Names) -> Vote | None:
        by_file = {
            example.detector: example.answer
            for example in reversed(self._votes.get(text, []))
            if example.detector not in held_out
        }
        if not by_file:
            return None
        counts = Counter(by_file.values())
        ordered = sorted(counts, key=lambda answer: (-counts[answer], answer))
        shares = [(answer, counts[answer] / len(by_file)) for answer in ordered]
        ranking: dict[str, float] = {}
        for answer, share in shares:
            for label in answer:
                ranking.setdefault(label, share)
        return Vote(*shares[0], "neighbours", tuple(ranking.items()))


class ProposalsPredictor:
    """What a person who adds a detector is proposed first: see mapping.engine.propose.

    Confidence is 1 for a name or alias, otherwise a cosine: no probability.
    """

    def __init__(self, known: Known) -> None:
        self._proposer = Proposer(known.taxonomy)

    def predict(self, question: Question, held_out: Names) -> Prediction:
        """See Predictor. Knows no detector file at all."""
        labels = source_labels(question.output)
        return merge(question, [self._vote(label, question.description) for label in labels])

    def _vote(self, label: str, description: str) -> Vote | None:
        found = self._proposer.propose(label, description, limit=5)
        if not found:
            return None
        first = found[0]
        ranking = tuple((one.canonical, one.similarity) for one in found)
        return Vote((first.canonical,), first.similarity, first.reason, ranking)
