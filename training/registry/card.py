"""The model card of a version: README.md in the form that the Hugging Face Hub reads.

Front matter: https://huggingface.co/docs/hub/model-cards and the `model-index` of its metadata
specification. Everything in it comes from the version's own files; what was not measured is absent.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from training.registry.adapter import AdapterFacts
from training.registry.evaluation import WORDS, Evaluation, Figures
from training.registry.names import ModelName

_KINDS: Final = (("described", "with descriptions"), ("label_alone", "label alone"))
# Facts of a training run that a reader wants first, in this order; the others follow in the file.
_RUN: Final = ("profile", "seed", "command", "started", "ended", "steps", "device")
_MOST_CHARS: Final = 200


def model_card(
    *,
    name: ModelName,
    base: Mapping[str, str],
    facts: Mapping[str, str],
    adapter: AdapterFacts,
    training: Mapping[str, Any],
    environment: Mapping[str, Any],
    evaluation: Evaluation | None,
    license_id: str,
) -> str:
    """Markdown with YAML in front. Deterministic: the same facts give the same text.

    `base`: name and sha256. `facts`: data_set, prompt, edition, encoder.
    """
    front = yaml.safe_dump(
        _front(name, base["name"], facts["data_set"], evaluation, license_id),
        sort_keys=False, allow_unicode=True,
    )  # fmt: skip
    sections = (
        f"# {name}",
        f"A LoRA adapter of {base['name']}. It reads the label that a safety detector reported, "
        "and lettered options, and answers with one letter: the canonical label that means the "
        "same.",
        _table(
            ("", ""),
            (
                ("base model", f"{base['name']}, SHA-256 `{base['sha256']}`"),
                ("adapter", f"SHA-256 `{adapter.sha256}`"),
                (
                    "shape",
                    f"rank {adapter.rank}, alpha {adapter.alpha:g}, {adapter.modules} layers, "
                    f"{adapter.parameters:,} parameters, {adapter.dtype}",
                ),
                ("data set", f"`{facts['data_set']}`"),
                ("taxonomy", facts["edition"]),
                ("prompt", facts["prompt"]),
                ("encoder of the options", f"`{facts['encoder']}`"),
            ),
        ),
        "## Use\n\nFor short labels of detectors, with or without a description, in English. Its "
        "letters are read as probabilities and corrected by `calibrator.json`, which fits this "
        "adapter, base, prompt, encoder and taxonomy alone. Not for judging content, and not for "
        "any other prompt.",
        "## Training\n\nOn labels and their meanings; no raw detector output and no tenant's text "
        "is in the data.\n\n" + _run_table(training, environment),
        _evaluation(evaluation),
        "## Limits\n\nOpaque codes without a description cannot be known. Labels of detectors "
        "unlike those in the data are harder than the figures say. What the calibrated "
        "probability does not support goes to a person.",
    )
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def front_matter(card: str) -> dict[str, Any]:
    """The YAML in front of a card; empty if there is none that can be read."""
    parts = card.split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _front(
    name: ModelName, base: str, data_set: str, evaluation: Evaluation | None, license_id: str
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "base_model": base,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-classification",
        "license": license_id,
        "language": ["en"],
        "tags": ["lora", "peft", "guardrails", "label-mapping", "pillars"],
        "model_name": name.served,
        "version": name.version,
    }
    if evaluation is not None:
        results = [
            result
            for kind, words in _KINDS
            if (result := _result(evaluation, getattr(evaluation, kind), words, data_set))
        ]
        found["metrics"] = sorted(
            {metric["type"] for result in results for metric in result["metrics"]}
        )
        found["model-index"] = [{"name": name.served, "results": results}]
    return found


def _result(
    evaluation: Evaluation, figures: Figures, words: str, data_set: str
) -> dict[str, Any] | None:
    types = {"micro_f1": "f1", "macro_f1": "f1", "accepted": "accuracy", "parent": "accuracy"}
    metrics = [
        {"type": types.get(name, name), "name": WORDS[name], "value": round(value, 6)}
        for name in WORDS
        if (value := figures.values.get(name)) is not None
    ]
    if not metrics:
        return None
    return {
        "task": {"type": "text-classification", "name": f"Mapping of labels, {words}"},
        "dataset": {
            "name": f"Labels of {evaluation.protocol}",
            "type": "pillars-labels",
            "split": evaluation.split,
            "revision": data_set,
        },
        "metrics": metrics,
    }


def _run_table(training: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    rows = [(name, training[name]) for name in _RUN if training.get(name) is not None]
    versions = environment.get("packages")
    if isinstance(versions, Mapping):
        rows.append(("packages", ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))))
    rows += [(name, environment[name]) for name in ("python", "platform") if name in environment]
    return _table(("", ""), ((name, _said(value)) for name, value in rows))


def _evaluation(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "## Evaluation\n\nNot evaluated when it was packed."
    names = [
        name
        for name in WORDS
        if name in evaluation.described.values or name in evaluation.label_alone.values
    ]
    parts = [
        f"## Evaluation\n\nProtocol: {evaluation.protocol}; split `{evaluation.split}`, "
        f"{evaluation.rows:,} rows. Shares, with 95 % intervals where they were worked out.",
        _table(
            ("", *(words for _, words in _KINDS)),
            (
                (
                    WORDS[name],
                    *(shown(getattr(evaluation, kind), name) for kind, _ in _KINDS),
                )
                for name in names
            ),
        ),
    ]
    if evaluation.latency_p95_ms is not None:
        parts.append(f"Time of an answer: p95 {evaluation.latency_p95_ms:g} ms.")
    if evaluation.schema_valid is not None:
        parts.append(f"Answers that keep to the schema: {evaluation.schema_valid:.2%}.")
    if evaluation.by_detector:
        parts.append(
            _table(
                ("detector", "rows", "accepted", "parent"),
                (
                    (name, str(one.rows), f"{one.accepted:.3f}", _share(one.parent))
                    for name, one in sorted(evaluation.by_detector.items())
                ),
            )
        )
    return "\n\n".join(parts)


def shown(figures: Figures, name: str) -> str:
    """A figure with its interval: 0.750 [0.710, 0.790]; a dash where it was not measured."""
    value = figures.values.get(name)
    if value is None:
        return "-"
    interval = figures.intervals.get(name)
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _said(value: Any) -> str:
    """A value in a cell: one line, not too long."""
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        value = value["name"]  # of a profile; the rest of it stands in training.json
    elif isinstance(value, Mapping):
        value = ", ".join(f"{k} {v}" for k, v in value.items())
    elif isinstance(value, list):
        value = " ".join(map(str, value))
    return " ".join(str(value).split())[:_MOST_CHARS].replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
