"""The comparison as Markdown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mapping.evaluation.report import strata_table
from mapping.evaluation.strata import STRATA, stratum
from training.routes.base import Array
from training.routes.compare import Answers, Comparison, Judged, Share, names_of
from training.routes.material import VARIANTS
from training.routes.registry import FIRST

_SHIPPED = "shipped-encoder"


def tables(data: Path, out: Path, ensembles: Sequence[Sequence[str]] = ()) -> str:
    """All tables. The same files give the same text. ValueError, FileNotFoundError."""
    found = Comparison(data, out)
    names_of(found, ensembles)
    answers = list(_rows(found, ensembles))
    reference = next((n for n, one in enumerate(answers) if one.name.startswith("retrieval")), 0)
    parts = [
        f"{len(found.rows)} labels of {len(set(found.detectors.tolist()))} detectors, each "
        "answered by models that had not seen its vendor. Intervals: 95 %, detectors drawn anew. "
        f"Difference: accepted less that of *{answers[reference].name}*, in points."
    ]
    for variant, title in enumerate(("With descriptions", "Label alone")):
        judged = [found.judge(one, variant) for one in answers]
        parts += [
            f"{title}:", _quality(found, judged, reference), "Accepted / hit@5 by stratum:",
            strata_table((one.name, one.report) for one in judged),
            _wins(found, judged, reference, VARIANTS[variant]),
        ]  # fmt: skip
    costs = _costs(found)
    parts += ["What each costs:", costs] if costs else []
    return "\n\n".join(parts)


def _rows(found: Comparison, ensembles: Sequence[Sequence[str]]) -> Iterator[Answers]:
    """Retrieval on each encoder, each route alone, retrieval with each other route, with all."""
    encoders = found.encoders
    several = len(set(found.folds.tolist())) > 1
    best = next((name for name in (FIRST, _SHIPPED) if name in encoders), None)
    if several and best:
        yield found.retrieval(best)
    for name in found.routes:
        yield found.alone(name)
    if not several or not best:
        return  # weights could only be fitted on what they would be judged by
    for name in encoders:
        if name != best:
            yield found.retrieval(name)
    others = [n for n in found.routes if n not in (*encoders, "published")]
    for name in others:
        yield found.retrieval(best, name)
    if len(others) > 1:
        yield found.retrieval(best, *others)
    for one in ensembles:
        yield found.retrieval(best, *one)


def _quality(found: Comparison, judged: Sequence[Judged], reference: int) -> str:
    lines = [
        "| route | accepted | difference | parent | hit@5 | macro-F1 | by detector | ECE |",
        "|" + "---|" * 8,
    ]
    base = judged[reference].right.astype(float)
    for number, one in enumerate(judged):
        figures = one.report.overall
        apart = found.share(one.right.astype(float) - base)
        cells = [
            _interval(found.share(one.right)),
            "-" if number == reference else _signed(apart),
            *(f"{100 * value:.1f}" for value in (figures.parent, figures.hit5, figures.macro_f1)),
            _interval(Share(*figures.detectors)),
            "-" if figures.ece is None else f"{figures.ece:.3f}",
        ]
        lines.append(f"| {one.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(one: Share) -> str:
    return f"{100 * one.mean:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _signed(one: Share) -> str:
    return f"{100 * one.mean:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def _wins(found: Comparison, judged: Sequence[Judged], reference: int, variant: str) -> str:
    """Where a route is right and the reference is not, by stratum, and the other way round."""
    kinds = np.array([stratum(one.question.output, one.expected) for one in found.cases])
    base = judged[reference]
    present = [kind for kind in STRATA if (kinds == kind).any()]
    lines = [
        f"Cases ({variant}) that a route gets right and *{base.name}* does not / the other way "
        "round; bold where the interval of the difference is above 0:",
        f"| route | {' | '.join(present)} |",
        "|" + "---|" * (len(present) + 1),
    ]
    for one in judged:
        if one is base:
            continue
        cells = [_won(found, one.right, base.right, kinds == kind) for kind in present]
        lines.append(f"| {one.name} | {' | '.join(cells)} |")
    any_right = np.any([one.right for one in judged], axis=0)
    shares = (f"{100 * any_right[kinds == kind].mean():.1f} %" for kind in present)
    lines.append(f"| *right in any row* | {' | '.join(shares)} |")
    return "\n".join([lines[0], "", *lines[1:]])


def _won(found: Comparison, mine: Array, other: Array, chosen: Array) -> str:
    more = int((mine & ~other & chosen).sum())
    less = int((other & ~mine & chosen).sum())
    apart = np.where(chosen, mine.astype(float) - other.astype(float), 0.0)
    text = f"{more} / {less}"
    return f"**{text}**" if found.share(apart).low > 0 else text


def _costs(found: Comparison) -> str:
    latencies = found.latencies()
    names = list(dict.fromkeys([*found.routes, *latencies]))
    lines = [
        "| route | training, s a fold | scoring in batches, ms a label | one label on a processor, "
        "ms p50 / p95 (answers) | parameters | of them trained | MB in 16 bits |",
        "|" + "---|" * 7,
    ]
    notes = []
    for name in names:
        facts, told = found.facts(name), latencies.get(name, {})
        size: dict[str, Any] = facts.get("size") or told.get("size") or {}
        if not facts and not told:
            continue
        times = ", ".join(
            f"{p50:.1f} / {p95:.1f} ({width})" for width, (p50, p95) in told["answers"].items()
        ) if told else "-"  # fmt: skip
        cells = [
            f"{facts['train_seconds']:.0f}" if facts else "-",
            f"{facts['ms_a_label']:.2f}" if facts else "-",
            times,
            f"{size['parameters'] / 1e6:.1f} M", f"{size['trained'] / 1e6:.2f} M",
            f"{size['megabytes']:.0f}",
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
        notes += [f"trained on {facts['device']}"] if facts else []
        notes += [f"latency with {told['threads']} threads"] if told else []
    if not notes:
        return ""
    lines += ["", "; ".join(dict.fromkeys(notes)).capitalize() + "."]
    return "\n".join(lines)
