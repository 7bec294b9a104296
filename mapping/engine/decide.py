"""From what the recipes read to the answer."""

from collections.abc import Iterable, Mapping
from typing import Final

from mapping.engine.labels import recordable_label
from mapping.engine.sink import Sink
from mapping.engine.thresholds import ThresholdFor
from mapping.engine.types import (
    MODEL_ERROR,
    NEEDS_REVIEW,
    SAFE,
    SEVERITIES,
    SEVERITY_RANK,
    UNKNOWN,
    Decision,
    Finding,
    HashText,
)
from mapping.engine.vocabulary import LabelRule
from mapping.resolver.types import AnsweredBy

# Of an output that states a finding and, in the same breath, that there is none.
_CONTRADICTED: Final = 0.5
_LOW: Final = SEVERITY_RANK["low"]


def keyed_hash(text: str, hash_text: HashText) -> str:
    """The caller's hash; lone surrogates, which UTF-8 cannot hold, are escaped before."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return hash_text(text)


class Answer:
    """Findings, labels, scores, decision and confidence of one output, as they are worked out."""

    __slots__ = ("confidence", "decision", "findings", "rank", "scores")

    def __init__(self) -> None:
        self.decision: Decision = "safe"
        self.confidence = 1.0
        self.rank = 0
        self.findings: list[Finding] = []
        # Also the labels in order of first appearance.
        self.scores: dict[str, float] = {}

    def add(self, finding: Finding, rank: int, score: float) -> None:
        """Takes a finding over."""
        self.findings.append(finding)
        if rank > self.rank:
            self.rank = rank
        if score > self.scores.get(finding.canonical, -1.0):
            self.scores[finding.canonical] = score


def error_answer(rank: int, *, stated: bool) -> Answer:
    """The detector failed (`stated`), or its output could not be read."""
    answer = Answer()
    answer.decision = "error"
    answer.confidence = 1.0 if stated else 0.0
    severity = SEVERITIES[rank]
    answer.add(
        Finding(None, None, MODEL_ERROR, answer.confidence, "error", None, severity, 1), rank, 1.0
    )
    return answer


class _Sure:
    """How sure the findings are, as they are worked out."""

    __slots__ = ("certain", "doubt", "lowest", "threshold_for")

    def __init__(self, threshold_for: ThresholdFor) -> None:
        self.threshold_for = threshold_for
        self.lowest = -1.0  # least confidence of the findings; -1 without any
        self.doubt = -1.0  # the same of what is left to people
        self.certain = False  # whether any finding reaches its label's threshold

    def take(self, key: LabelRule) -> None:
        confidence = key.confidence
        if key.handed_over:
            self.doubt = confidence if self.doubt < 0 else min(self.doubt, confidence)
            return
        self.lowest = confidence if self.lowest < 0 else min(self.lowest, confidence)
        # A confidence of 1 reaches any threshold: most rules ask for none.
        if not self.certain:
            self.certain = confidence >= 1.0 or any(
                confidence >= self.threshold_for(canonical) for canonical, _ in key.targets
            )


def decide(sink: Sink, threshold_for: ThresholdFor, hash_text: HashText) -> Answer:
    """The answer for an output that could be read.

    It is `mapped` if any finding is as certain as the threshold of its canonical label wants.
    """
    answer = Answer()
    specific = any(_is_specific(key) for key in sink.hits)
    sure = _Sure(threshold_for)
    for key, (score, stated, count) in sink.hits.items():
        if isinstance(key, str) or key.kind == "unmapped":
            _add_unknown(answer, key, score, stated, count, hash_text)
        elif key.kind == "finding" and not (key.generic and specific):
            sure.take(key)
            for canonical, default in key.targets:
                rank = default if stated < 0 or canonical == SAFE else stated
                answer.add(
                    Finding(
                        None if key.digest else key.label, key.digest, canonical, key.confidence,
                        key.method, score, SEVERITIES[rank], count, key.candidates, key.by,
                    ),
                    rank,
                    1.0 if score is None else score,
                )  # fmt: skip
    if len(answer.scores) > 1:  # "no finding" says nothing beside findings
        answer.scores.pop(SAFE, None)
    lowest = sure.lowest if sure.lowest >= 0 else sure.doubt
    if lowest >= 0 and set(answer.scores) != {UNKNOWN}:
        answer.confidence = min(lowest, _CONTRADICTED) if sink.contradicts else lowest
        answer.decision = _decision(answer.scores, sink.contradicts or not sure.certain)
    elif answer.findings:
        answer.confidence = 0.0
        answer.decision = "fallback"
    else:
        answer.scores[SAFE] = 1.0
    return answer


def _is_specific(key: LabelRule | str) -> bool:
    return isinstance(key, LabelRule) and key.kind == "finding" and not key.generic


def _decision(labels: Iterable[str], doubtful: bool) -> Decision:
    known = set(labels)
    known.discard(UNKNOWN)
    if known == {MODEL_ERROR}:
        return "error"
    if known == {SAFE} and not doubtful:
        return "safe"
    return "review" if doubtful or known == {NEEDS_REVIEW} else "mapped"


def _add_unknown(
    answer: Answer,
    key: LabelRule | str,
    score: float | None,
    stated: int,
    count: int,
    hash_text: HashText,
) -> None:
    label: str | None = None
    digest: str | None = None
    candidates: tuple[tuple[str, float], ...] = ()
    by: AnsweredBy | None = None
    if isinstance(key, LabelRule):
        label, candidates, by = key.label, key.candidates, key.by
    elif recordable_label(key):
        label = key
    else:
        digest = keyed_hash(key, hash_text)
    rank = _LOW if stated < 0 else stated
    finding = Finding(
        label, digest, UNKNOWN, 0.0, "none", score, SEVERITIES[rank], count, candidates, by
    )
    answer.add(finding, rank, 0.0 if score is None else score)


def controls_of(labels: Iterable[str], controls: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Sorted controls that any of the labels is evidence for."""
    found = [controls[label] for label in labels if label in controls]
    if len(found) < 2:
        return found[0] if found else ()
    return tuple(sorted(set().union(*found)))
