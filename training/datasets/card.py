"""The card of a data set: README.md as Hugging Face reads it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from training.datasets.findings import Finding
from training.datasets.sides import SIDES

_SHOWN: Final = 10
_KINDS: Final = {
    "detector": "labels of detector files, with our own descriptions",
    "golden": "the same labels, as recorded output shapes spell them",
    "alias": "names and aliases of the taxonomy",
    "decision": "labels that people have decided on and approved",
    "glossary": "labels that language models wrote with sight of the taxonomy alone",
    "synthetic": "labels of invented detectors, with our own descriptions",
}


def card(manifest: Mapping[str, Any], findings: Iterable[Finding], command: str) -> str:
    """Markdown with a header of metadata."""
    splits, counts = manifest["splits"], manifest["counts"]
    total = sum(one["rows"] for one in splits.values())
    parts = [
        _header(manifest, total),
        f"# Label mapping: {manifest['name']}",
        "Questions which label of the Pillars taxonomy a safety detector's label means: a prompt "
        "with lettered options, and the letter. Digest: "
        f"`{manifest['digest']}`. Edition of the taxonomy: {manifest['edition']}.",
        "## Samples",
        _table(
            ("kind", "what", *SIDES),
            [
                (kind, what, *(counts["kinds"][side].get(kind, 0) for side in SIDES))
                for kind, what in _KINDS.items()
            ]
            + [("**all**", "", *(splits[side]["rows"] for side in SIDES))],
        ),
        _facts(manifest),
        "## Splits",
        _splits(manifest),
        "## Balance",
        _balance(manifest),
        "## What was noticed",
        "\n".join(f"- {one.message} ({one.count})" for one in findings) or "Nothing.",
        "## Use",
        "For models that choose an answer from the options of exactly this prompt "
        f"(version `{manifest['config']['prompt']}`). In epoch e take the samples of variation e "
        "modulo their number.\n\n"
        "Not for judging content, chat, or languages other than English; not for estimating how "
        "often anything is found; not for testing a model that has seen the test's vendors, which "
        "`dataset.json` (for the encoder) has all of. Validation and test offer what the service "
        "would offer: where that lacks the right answer, the letter is that of its branch or of "
        "none of these, and `answers` stays what is right.",
        "## Where it comes from",
        _table(("source", "SHA-256"), sorted(manifest["sources"].items())),
        "Labels are facts about the detectors named; descriptions and invented labels are our own "
        "words. No tenant's text, no output of a detector and nobody's data is in it: numbers and "
        "addresses in examples are of ranges that nobody has (documentation addresses, test cards, "
        "Social Security areas that are not given out). License: Apache-2.0, as Pillars.",
        "## Made by",
        f"Seed {manifest['seed']}:\n\n```\n{command or 'training.datasets.build'}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _header(manifest: Mapping[str, Any], total: int) -> str:
    size = next(
        name
        for most, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (0, ""))
        if total < most or not most
    )
    lines = [
        "---",
        "license: apache-2.0",
        "language: [en]",
        "task_categories: [text-classification, multiple-choice]",
        f"pretty_name: Pillars label mapping, {manifest['name']}",
        f"size_categories: [{size or '100K<n<1M'}]",
        "configs:",
        "  - config_name: default",
        "    data_files:",
    ]
    for side in SIDES:
        if manifest["splits"][side]["rows"]:
            lines += [f"      - split: {side}", f"        path: {side}.jsonl"]
    return "\n".join([*lines, "---"])


def _facts(manifest: Mapping[str, Any]) -> str:
    counts = manifest["counts"]
    rows = []
    for name in ("described", "several answers", "none of these"):
        shares = []
        for side in SIDES:
            total = manifest["splits"][side]["rows"]
            shares.append(f"{counts[name][side] / total:.1%}" if total else "")
        rows.append((name, *shares))
    text = _table(("share of samples", *SIDES), rows)
    if counts["left out"]:
        text += "\n\nLeft out: "
        text += ", ".join(f"{name} ({count})" for name, count in counts["left out"].items()) + "."
    return text


def _splits(manifest: Mapping[str, Any]) -> str:
    splitting = manifest["config"]["splitting"]
    text = "A vendor with all its detectors is on one side."
    if splitting["everything"]:
        text += " Made to learn from everything: no test."
    elif splitting["fold"]:
        text += f" Test: fold {splitting['fold'][0]} of {splitting['fold'][1]}."
    elif splitting["hold_out"]:
        text += f" Test: the vendors of {', '.join(splitting['hold_out'])}."
    for side in SIDES:
        detectors = manifest["splits"][side]["detectors"]
        text += f"\n\n**{side}**, {len(detectors)} detectors: {', '.join(detectors) or 'none'}."
    return text


def _balance(manifest: Mapping[str, Any]) -> str:
    answers = sorted(manifest["counts"]["answers"]["train"].items(), key=lambda one: -one[1])
    detectors = sorted(manifest["counts"]["detectors"]["train"].items(), key=lambda one: -one[1])
    invented = manifest["config"]["synthetic"]
    return (
        f"Invented labels: {invented} for each answer of the taxonomy, "
        f"{manifest['config']['drawing']['variations']} variations each, and at most "
        f"{manifest['config']['glossary']} of the glossary. All kinds together are "
        "not balanced: vendors name some things far more often than others.\n\n"
        + _table(("most samples learnt from", "", "fewest", ""), _ends(answers))
        + "\n\n"
        + _table(("detectors with most", "", "with fewest", ""), _ends(detectors))
    )


def _ends(ordered: list[tuple[str, int]]) -> list[tuple[Any, ...]]:
    count = min(_SHOWN, len(ordered))
    return [
        (*first, *last) for first, last in zip(ordered[:count], ordered[::-1][:count], strict=True)
    ]


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = [_line(head), _line("---" for _ in head), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(str(one) for one in cells)} |"
