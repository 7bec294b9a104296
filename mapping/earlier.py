"""Answers of /map in an earlier taxonomy edition, for callers that pin it. Plain Python."""

from typing import Any

from taxonomy.migration import WayBack

_MOST_NOTES = 500  # characters, as in the response schema


def in_edition(response: dict[str, Any], back: WayBack) -> dict[str, Any]:
    """The answer with the labels of edition `back.old`; nothing that it shares is changed.

    Labels that become the same stand once, with the higher score. `controls` stay: they follow
    from the labels in force, under which the event is stored.
    """
    labels, findings = response["taxonomy"], response["findings"]
    scores: dict[str, float] = {}
    for label, score in response["scores"].items():
        name = _back(label, back)
        scores[name] = max(score, scores.get(name, 0.0))
    return {
        **response,
        "taxonomy": list(dict.fromkeys(_back(label, back) for label in labels)),
        "scores": scores,
        "findings": [_finding(one, back) for one in findings],
        "notes": _notes(response["notes"], back, labels),
        "version_info": {**response["version_info"], "taxonomy": back.old},
    }


def _finding(one: dict[str, Any], back: WayBack) -> dict[str, Any]:
    found = {**one, "canonical": _back(one["canonical"], back)}
    if "candidates" in one:
        found["candidates"] = [(_back(label, back), share) for label, share in one["candidates"]]
    return found


def _back(label: str, back: WayBack) -> str:
    return back.labels.get(label, label)


def _notes(notes: str | None, back: WayBack, labels: list[str]) -> str:
    lossy = sum(label not in back.exact for label in labels)
    note = f"labels of taxonomy {back.old}, mapped under {back.new}"
    if lossy:
        note += f"; {lossy} of them nearest labels: there is no exact way back"
    return "; ".join(filter(None, (note, notes)))[:_MOST_NOTES]
