"""Labels that neither a rule nor a decision maps: what the models make of them is put in.

The engine asks through a callable and knows nothing of models. A label that may not be recorded is
not asked about: it could be content.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from mapping.engine.labels import recordable_label
from mapping.engine.sink import Sink
from mapping.engine.thresholds import ThresholdFor
from mapping.engine.types import NEEDS_REVIEW, SAFE, Method
from mapping.engine.vocabulary import LabelRule
from mapping.resolver.settle import Settled, Verdict, settle
from mapping.resolver.types import NOT_A_FINDING, LabelQuestion

# None: nothing is known yet, and the label stays as it is.
Ask: TypeAlias = Callable[[LabelQuestion], Verdict | None]
MOST_ASKED: Final = 50  # distinct labels of one output
_METHODS: Final[Mapping[str, Method]] = {
    "model": "model",
    "retrieval": "retrieval",
    "parent": "parent",
}


def apply_verdicts(
    sink: Sink,
    ask: Ask,
    question: LabelQuestion,
    descriptions: Mapping[str, str],
    threshold_for: ThresholdFor,
    severities: Mapping[str, int],
    *,
    model_first: bool,
) -> None:
    """Replaces what no rule knows, and with `model_first` also what rules know.

    `question` holds what is the same for all labels: detector, version, category.
    """
    hits: dict[LabelRule | str, list[Any]] = {}
    asked = 0
    for key, hit in sink.hits.items():
        label = _label_to_ask(key, model_first)
        if label is None or asked == MOST_ASKED:
            hits[key] = hit
            continue
        asked += 1
        description = descriptions.get(label, "")
        verdict = ask(question._replace(label=label, description=description))
        if verdict is None:
            hits[key] = hit
            continue
        settled = settle(verdict, threshold_for, severities)
        hits[_rule(key, label, settled, severities)] = hit
    sink.hits = hits


def _label_to_ask(key: LabelRule | str, model_first: bool) -> str | None:
    if isinstance(key, str):
        return key if recordable_label(key) else None
    if model_first and key.method == "rule" and key.kind in ("finding", "unmapped"):
        return key.label
    return None


def _rule(
    key: LabelRule | str, label: str, settled: Settled, severities: Mapping[str, int]
) -> LabelRule:
    method = _METHODS[settled.method]
    if isinstance(key, LabelRule) and settled.outcome != "accept":
        return key  # model first, but not sure of a label: the rule answers
    if settled.labels == (NOT_A_FINDING,):
        if isinstance(key, LabelRule):
            return key  # a model does not take back what a rule calls a finding
        targets: tuple[str, ...] = (SAFE,)
    elif settled.labels and all(one in severities for one in settled.labels):
        targets = settled.labels
    elif isinstance(key, LabelRule):  # accepted, but "none of these" or not in this edition
        return key
    elif settled.outcome == "review":
        targets = (NEEDS_REVIEW,)
    else:
        return LabelRule(label, "unmapped", candidates=settled.candidates, by=settled.by)
    return LabelRule(
        label,
        "finding",
        tuple((one, severities[one]) for one in targets),
        confidence=settled.confidence,
        method=method,
        candidates=settled.candidates,
        by=settled.by,
    )
