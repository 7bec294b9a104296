"""The engine: a raw detector output in, canonical labels and evidence out."""

from typing import Any, Final

from mapping.engine.bare import is_failure
from mapping.engine.decide import Answer, controls_of, decide, error_answer, keyed_hash
from mapping.engine.decisions import Decisions, apply_decisions
from mapping.engine.descriptions import apply_descriptions
from mapping.engine.detectors import DEFAULT_THRESHOLD, DetectorMap
from mapping.engine.foreign import read_foreign
from mapping.engine.knowledge import Knowledge
from mapping.engine.labels import recordable_label
from mapping.engine.recipes import parse
from mapping.engine.sink import Sink
from mapping.engine.thresholds import DEFAULT, Layer, ThresholdFor, Thresholds
from mapping.engine.types import (
    FLAGGED,
    MODEL_ERROR,
    SEVERITIES,
    UNKNOWN,
    DetectorOutput,
    HashText,
    MappingResult,
)

# What a detector or vendor name that may not be recorded is replaced by.
UNRECORDABLE: Final = "unrecordable"


class Engine:
    """Maps outputs by the rules of the detector files. Thread-safe: holds no state of a call."""

    def __init__(self, knowledge: Knowledge, threshold: float = DEFAULT) -> None:
        """Mappings that are less certain than `threshold` are answered with decision `review`.

        It holds for calls that bring no thresholds of their own.
        """
        self.knowledge = knowledge
        self._thresholds = Thresholds(Layer(threshold))
        self._error_rank = knowledge.severities[MODEL_ERROR]
        self._flagged_rank = knowledge.severities[FLAGGED]

    def map(
        self,
        output: DetectorOutput,
        hash_text: HashText,
        decisions: Decisions | None = None,
        thresholds: Thresholds | None = None,
    ) -> MappingResult:
        """Maps one output. Never raises on any output: what cannot be read is OTHER.ModelError.

        `hash_text` is a keyed hash for strings that may not be recorded. `decisions` are those of
        the caller on labels that no rule maps, `thresholds` those of the caller.
        """
        limits = self._thresholds if thresholds is None else thresholds
        detector: DetectorMap | None = None
        try:
            detector = self.knowledge.find_detector(output.detector, output.detector_version)
            shape = _shape(output.output)
            sink = Sink()
            if detector is None:
                answer = self._foreign(output, sink, hash_text, decisions, limits)
            else:
                answer = self._known(detector, output, sink, hash_text, decisions, limits)
            notes = _notes(sink, detector)
            if answer.decision == "error" and isinstance(output.output, str) and output.output:
                shape["digest"] = keyed_hash(output.output, hash_text)
        except Exception:  # noqa: BLE001 - one hostile output must not stop the others of a batch
            answer = error_answer(self._error_rank, stated=False)
            shape = {"type": "unreadable"}
            notes = "the output could not be processed"
        return self._result(output, detector, answer, shape, notes)

    def _known(
        self,
        detector: DetectorMap,
        output: DetectorOutput,
        sink: Sink,
        hash_text: HashText,
        decisions: Decisions | None,
        limits: Thresholds,
    ) -> Answer:
        parsed = parse(output.output)
        read = detector.reader.read(parsed, sink)
        if read and decisions:
            self._apply(decisions, (detector.name, output.detector), output, sink, hash_text)
        limit = limits.for_detector(detector.name)
        answer = self._decide(output, sink, hash_text, limit) if read else None
        if answer is not None and answer.decision != "safe":
            return answer
        # A verdict of "nothing found" counts only if nothing failed beside it.
        stated = sink.failures > 0 or is_failure(parsed.value)
        if answer is not None and not stated and not sink.unreadable:
            return answer
        return error_answer(self._error_rank, stated=stated)

    def _foreign(
        self,
        output: DetectorOutput,
        sink: Sink,
        hash_text: HashText,
        decisions: Decisions | None,
        limits: Thresholds,
    ) -> Answer:
        """A detector without a file: its labels are named, and mapped only if described."""
        parsed = parse(output.output)
        read_foreign(parsed.value, parsed.text, DEFAULT_THRESHOLD, self._flagged_rank, sink)
        if sink.failures and not sink.hits:
            return error_answer(self._error_rank, stated=True)
        if not (sink.hits or sink.cleared):
            answer = Answer()
            answer.decision = "fallback"
            answer.confidence = 0.0
            answer.rank = SEVERITIES.index("low")
            answer.scores[UNKNOWN] = 0.0
            return answer
        name = _name(output.detector) or UNRECORDABLE
        if decisions:
            self._apply(decisions, (name,), output, sink, hash_text)
        return self._decide(output, sink, hash_text, limits.for_detector(name))

    def _apply(
        self,
        decisions: Decisions,
        names: tuple[str, ...],
        output: DetectorOutput,
        sink: Sink,
        hash_text: HashText,
    ) -> None:
        tables = decisions.tables(names, output.detector_version)
        apply_decisions(sink, tables, self.knowledge.severities, hash_text)

    def _decide(
        self, output: DetectorOutput, sink: Sink, hash_text: HashText, limit: ThresholdFor
    ) -> Answer:
        if output.label_descriptions:
            known = self.knowledge
            apply_descriptions(sink, output.label_descriptions, known.aliases, known.severities)
        return decide(sink, limit, hash_text)

    def _result(
        self,
        output: DetectorOutput,
        detector: DetectorMap | None,
        answer: Answer,
        shape: dict[str, str | int],
        notes: str | None,
    ) -> MappingResult:
        taxonomy = tuple(answer.scores)
        return MappingResult(
            answer.decision,
            SEVERITIES[answer.rank],
            answer.confidence,
            taxonomy,
            answer.scores,
            tuple(answer.findings),
            controls_of(taxonomy, self.knowledge.controls),
            notes,
            shape,
            detector.name if detector is not None else _name(output.detector) or UNRECORDABLE,
            _name(output.vendor) or (detector.vendor if detector is not None else None),
            detector.version if detector is not None else None,
        )


def _name(given: Any) -> str | None:
    """A detector's or vendor's name, if it may be recorded."""
    if not isinstance(given, str):
        return None
    given = given.strip()
    return given if recordable_label(given) else None


def _shape(raw: Any) -> dict[str, str | int]:
    if isinstance(raw, str):
        return {"type": "string", "length": len(raw)}
    if isinstance(raw, dict):
        return {"type": "object", "keys": len(raw)}
    if isinstance(raw, list | tuple):
        return {"type": "array", "items": len(raw)}
    return {"type": type(raw).__name__}


def _notes(sink: Sink, detector: DetectorMap | None) -> str | None:
    """Constant words and numbers only: a note never quotes the output."""
    parts = []
    if detector is None:
        parts.append("no detector file for this detector")
    elif sink.recipe is not None:
        parts.append(f"read as {sink.recipe}")
    if sink.contradicts:
        parts.append("the output contradicts itself")
    if sink.ignored:
        parts.append(f"{sink.ignored} members ignored")
    if sink.under:
        parts.append(f"{sink.under} scores under the threshold")
    if sink.unreadable:
        parts.append(f"{sink.unreadable} records unreadable")
    if sink.failures:
        parts.append(f"{sink.failures} records state a failure")
    if sink.dismissed:
        parts.append(f"{sink.dismissed} labels are no finding by a person's decision")
    if sink.dropped:
        parts.append(f"{sink.dropped} findings over the limit of distinct labels left out")
    return "; ".join(parts)[:500] or None
