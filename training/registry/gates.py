"""What a version must show before it is promoted. What was not measured never counts as good."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from mapping.resolver.calibrate import month_of
from training.registry.card import shown
from training.registry.evaluation import PROTOCOL, DetectorFigures, Evaluation

_FEWEST_ROWS: Final = 10  # of a detector that is compared: fewer say little
_SAME: Final = 1e-9  # five points exactly are not more than five points


@dataclass(frozen=True, slots=True)
class Limits:
    """Of `training` in pillars.yaml. Shares are 0 to 1."""

    min_f1: float
    min_parent: float
    max_ece: float
    max_p95_ms: float
    most_points_worse: float


@dataclass(frozen=True, slots=True)
class Gate:
    """One result. `value` and `limit` as people read them; `text` says what was found."""

    name: str
    passed: bool
    value: str
    limit: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Serving(NamedTuple):
    """What a version would be served with."""

    backend: str
    base: str
    base_sha256: str  # empty where nobody has said which it must be
    prompt: str
    encoder: str
    edition: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a version. None: nobody has looked."""

    served: str  # adapter's name on servers
    adapter_sha256: str
    base: str
    base_sha256: str
    evaluation: Evaluation | None
    calibrator: Mapping[str, Any]
    files: str | None = None  # why the files are not as they were; empty if they are
    data_set: str | None = None  # the same of the data set
    data_set_good: str = ""  # what to say of one without a problem


def check(
    candidate: Candidate,
    limits: Limits,
    serving: Serving,
    live: Evaluation | None,
    *,
    has_live: bool,
) -> list[Gate]:
    """Every gate, in the order in which they are shown. `live`: evaluation of the live version."""
    evaluation = candidate.evaluation
    return [
        _told("files", candidate.files, "Every file is as its manifest says."),
        _told("data set", candidate.data_set, candidate.data_set_good),
        _protocol(evaluation),
        _least("schema valid", None if evaluation is None else evaluation.schema_valid, 1.0),
        _figure("micro-F1", evaluation, "micro_f1", limits.min_f1),
        _figure("parent accuracy", evaluation, "parent", limits.min_parent),
        _ece(evaluation, limits.max_ece),
        _latency(evaluation, limits.max_p95_ms),
        _by_detector(evaluation, live, limits.most_points_worse, has_live=has_live),
        _calibrator(candidate, serving),
    ]


def passed(gates: Iterable[Gate]) -> bool:
    """Whether all did."""
    return all(gate.passed for gate in gates)


def _told(name: str, problem: str | None, good: str) -> Gate:
    if problem is None:
        return Gate(name, False, "-", "as made", "It is not on this machine.")
    return Gate(name, not problem, "problem" if problem else "as made", "as made", problem or good)


def _unknown(name: str, limit: str) -> Gate:
    return Gate(name, False, "-", limit, "Not evaluated.")


def _protocol(evaluation: Evaluation | None) -> Gate:
    if evaluation is None:
        return _unknown("protocol", PROTOCOL)
    good = evaluation.protocol == PROTOCOL and evaluation.split == "test"
    value = f"{evaluation.protocol}, {evaluation.split}"
    text = (
        f"{evaluation.rows:,} rows of detectors that it had not seen."
        if good
        else "Evaluate it on the test split, whose detectors were held out."
    )
    return Gate("protocol", good, value, f"{PROTOCOL}, test", text)


def _least(name: str, value: float | None, limit: float) -> Gate:
    shown_limit = f"at least {limit:g}"
    if value is None:
        return _unknown(name, shown_limit)
    good = value >= limit
    return Gate(name, good, f"{value:g}", shown_limit, "Reached." if good else "Missed.")


def _figure(name: str, evaluation: Evaluation | None, figure: str, limit: float) -> Gate:
    value = None if evaluation is None else evaluation.described.values.get(figure)
    if evaluation is None or value is None:
        return _unknown(name, f"at least {limit:g}")
    good = value >= limit
    told = f"With descriptions; label alone {shown(evaluation.label_alone, figure)}."
    return Gate(name, good, shown(evaluation.described, figure), f"at least {limit:g}", told)


def _ece(evaluation: Evaluation | None, limit: float) -> Gate:
    """The worse of both kinds of questions: a confidence is believed whatever was asked."""
    both = [
        None if evaluation is None else figures.values.get("ece")
        for figures in (
            (evaluation.described, evaluation.label_alone) if evaluation else (None, None)
        )
        if figures is not None
    ]
    if not both or any(value is None for value in both):
        return _unknown("calibration error", f"at most {limit:g}")
    worst = max(value for value in both if value is not None)
    told = "The worse of with descriptions and label alone."
    return Gate("calibration error", worst <= limit, f"{worst:.3f}", f"at most {limit:g}", told)


def _latency(evaluation: Evaluation | None, limit: float) -> Gate:
    value = None if evaluation is None else evaluation.latency_p95_ms
    if value is None:
        return _unknown("latency", f"p95 at most {limit:g} ms")
    good = value <= limit
    return Gate(
        "latency", good, f"{value:g} ms", f"p95 at most {limit:g} ms",
        "Fast enough." if good else "Too slow.",
    )  # fmt: skip


def _by_detector(
    evaluation: Evaluation | None, live: Evaluation | None, most: float, *, has_live: bool
) -> Gate:
    name, limit = "no detector worse", f"at most {most * 100:g} points"
    if evaluation is None or not evaluation.by_detector:
        return _unknown(name, limit)
    if not has_live:
        return Gate(
            name, True, "none live", limit, "No version is live that it could be worse than."
        )
    if live is None or not live.by_detector:
        return Gate(name, False, "-", limit, "The live version was not evaluated by detector.")
    if live.protocol != evaluation.protocol:
        return Gate(
            name, False, "-", limit,
            f"The live version was evaluated by another protocol ({live.protocol}).",
        )  # fmt: skip
    return _compared(name, limit, most, evaluation.by_detector, live.by_detector)


def _compared(
    name: str,
    limit: str,
    most: float,
    now: Mapping[str, DetectorFigures],
    live: Mapping[str, DetectorFigures],
) -> Gate:
    wanted = [one for one, figures in sorted(live.items()) if figures.rows >= _FEWEST_ROWS]
    if not wanted:
        return Gate(
            name, False, "-", limit,
            f"The live version was evaluated on no detector with {_FEWEST_ROWS} rows.",
        )  # fmt: skip
    missing = [one for one in wanted if one not in now]
    if missing:
        return Gate(
            name, False, "-", limit, f"Not evaluated on {_few(missing)}, as the live version was."
        )
    losses = {one: live[one].accepted - now[one].accepted for one in wanted}
    worse = [
        f"{one} ({loss * 100:.1f})"
        for one, loss in sorted(losses.items(), key=lambda item: -item[1])
        if loss > most + _SAME
    ]
    worst = max(losses.values())
    value = f"{max(worst, 0.0) * 100:.1f} points"
    text = (
        f"Worse than the live version, in points: {_few(worse)}."
        if worse
        else f"Of {len(wanted)} detectors none is further below the live version."
    )
    return Gate(name, not worse, value, limit, text)


def _calibrator(candidate: Candidate, serving: Serving) -> Gate:
    """It was fitted for this adapter, and for everything that it is served with."""
    made_for = candidate.calibrator
    identity = made_for.get("identity") or {}
    pairs = (
        ("adapter's name", identity.get("adapter"), candidate.served),
        ("adapter", identity.get("adapter_digest"), candidate.adapter_sha256),
        ("base model", identity.get("base"), candidate.base),
        ("base model served", candidate.base, serving.base),
        ("base model's weights", identity.get("base_digest"), candidate.base_sha256),
        ("base model's weights served", candidate.base_sha256, serving.base_sha256),
        ("kind of server", identity.get("backend"), serving.backend),
        ("prompt", identity.get("prompt"), serving.prompt),
        ("encoder", made_for.get("encoder"), serving.encoder),
        (
            "taxonomy",
            month_of(str(made_for.get("edition", ""))),
            month_of(serving.edition),
        ),
    )
    # Servers other than our own state no digests: there the names have to do. And where the
    # configuration does not say which weights must be served, there is nothing to compare.
    optional = {"base model's weights served"}
    if serving.backend != "embedded":
        optional |= {"base model's weights", "adapter"}
    others = [
        what
        for what, mine, other in pairs
        if mine != other and not (what in optional and "" in (mine, other))
    ]
    text = (
        f"It was fitted for another {', '.join(others)}. Fit one for what would be served."
        if others
        else "It was fitted for this adapter and what it is served with."
    )
    return Gate("calibrator", not others, "another" if others else "fits", "fits", text)


def _few(names: list[str]) -> str:
    """The first five, and how many more."""
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
