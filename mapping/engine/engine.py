"""The engine: a raw detector output in, canonical labels and evidence out."""

from typing import Any, Final, NamedTuple

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
from mapping.engine.thresholds import DEFAULT, Layer, Thresholds
from mapping.engine.types import (
    FLAGGED,
    MODEL_ERROR,
    SEVERITIES,
    UNKNOWN,
    DetectorOutput,
    HashText,
    MappingResult,
)
from mapping.engine.unknown import Ask, apply_verdicts
from mapping.resolver.types import LabelQuestion

# What a detector or vendor name that may not be recorded is replaced by.
UNRECORDABLE: Final = "unrecordable"


class _Call(NamedTuple):
    """An output and what belongs to its caller."""

    output: DetectorOutput
    hash_text: HashText
    decisions: Decisions | None
    thresholds: Thresholds
    ask: Ask | None
    model_first: bool


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
        ask: Ask | None = None,
        *,
        model_first: bool = False,
    ) -> MappingResult:
        """Maps one output. Never raises on any output: what cannot be read is OTHER.ModelError.

        `hash_text` is a keyed hash for strings that may not be recorded. `decisions` are those of
        the caller on labels that no rule maps, `thresholds` those of the caller. `ask` puts what is
        still unknown to the models, with `model_first` also what the rules know.
        """
        call = _Call(
            output,
            hash_text,
            decisions,
            self._thresholds if thresholds is None else thresholds,
            ask,
            model_first,
        )
        detector: DetectorMap | None = None
        try:
            detector = self.knowledge.find_detector(output.detector, output.detector_version)
            shape = _shape(output.output)
            sink = Sink()
            if detector is None:
                answer = self._foreign(call, sink)
            else:
                answer = self._known(detector, call, sink)
            notes = _notes(sink, detector)
            if answer.decision == "error" and isinstance(output.output, str) and output.output:
                shape["digest"] = keyed_hash(output.output, hash_text)
        except Exception:  # noqa: BLE001 - one hostile output must not stop the others of a batch
            answer = error_answer(self._error_rank, stated=False)
            shape = {"type": "unreadable"}
            notes = "the output could not be processed"
        return self._result(output, detector, answer, shape, notes)

    def _known(self, detector: DetectorMap, call: _Call, sink: Sink) -> Answer:
        parsed = parse(call.output.output)
        answer: Answer | None = None
        if detector.reader.read(parsed, sink):
            names = (detector.name, call.output.detector)
            answer = self._decide(call, sink, names, detector.category)
        if answer is not None and answer.decision != "safe":
            return answer
        # A verdict of "nothing found" counts only if nothing failed beside it.
        stated = sink.failures > 0 or is_failure(parsed.value)
        if answer is not None and not stated and not sink.unreadable:
            return answer
        return error_answer(self._error_rank, stated=stated)

    def _foreign(self, call: _Call, sink: Sink) -> Answer:
        """A detector without a file: no rule knows its labels."""
        parsed = parse(call.output.output)
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
        name = _name(call.output.detector) or UNRECORDABLE
        answer = self._decide(call, sink, (name,), "")
        if answer.decision == "safe" and sink.failures:  # all that it found is no finding
            return error_answer(self._error_rank, stated=True)
        return answer

    def _decide(self, call: _Call, sink: Sink, names: tuple[str, ...], category: str) -> Answer:
        """What rules left unknown is decided by people, by the vendor's own words, by models."""
        output, known = call.output, self.knowledge
        limit = call.thresholds.for_detector(names[0])
        if call.decisions:
            tables = call.decisions.tables(names, output.detector_version)
            apply_decisions(sink, tables, known.severities, call.hash_text)
        words = output.label_descriptions or {}
        if words:  # the vendor's words name a canonical label exactly: no model knows better
            apply_descriptions(sink, words, known.aliases, known.severities)
        if call.ask is not None:
            version = output.detector_version or ""
            question = LabelQuestion(names[0], "", "", category, version)
            apply_verdicts(
                sink, call.ask, question, words, limit, known.severities,
                model_first=call.model_first,
            )  # fmt: skip
        return decide(sink, limit, call.hash_text)

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
