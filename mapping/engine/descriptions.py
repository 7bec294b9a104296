"""Uses the vendor's own words for labels that no detector file knows.

Only words that name a canonical label exactly count: its name or one of its aliases. The texts are
read during the call and kept nowhere.
"""

from collections.abc import Mapping
from typing import Final

from mapping.engine.labels import recordable_label
from mapping.engine.sink import Sink
from mapping.engine.vocabulary import LabelRule, fold

# Below an exact rule, because nobody has tested what the vendor's words stand for.
CONFIDENCE: Final = 0.7
_MAX_CHARS: Final = 200


def apply_descriptions(
    sink: Sink,
    descriptions: Mapping[str, str],
    aliases: Mapping[str, str],
    severities: Mapping[str, int],
) -> None:
    """Replaces unknown labels in the sink whose description names a canonical label."""
    hits: dict[LabelRule | str, list[object]] = {}
    for key, hit in sink.hits.items():
        found = _canonical(key, descriptions, aliases) if isinstance(key, str) else None
        if found is not None and isinstance(key, str):
            targets = ((found, severities[found]),)
            hits[LabelRule(key, "finding", targets, confidence=CONFIDENCE)] = hit
        else:
            hits[key] = hit
    sink.hits = hits


def _canonical(
    label: str, descriptions: Mapping[str, str], aliases: Mapping[str, str]
) -> str | None:
    words = descriptions.get(label)
    if not isinstance(words, str) or len(words) > _MAX_CHARS or not recordable_label(label):
        return None
    return aliases.get(fold(words.strip(" .")))
