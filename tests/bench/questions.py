"""Questions as the resolver asks them: labels of the detector files, each with a shortlist.

The shortlists are of lexical likeness alone, so that no trained model is needed to make them; what
they are good for is their length and wording.
"""

import json
import random
from pathlib import Path
from typing import Any, Final, NamedTuple

from mapping.resolver.types import NOT_A_FINDING, LabelQuestion, Option

KNOWLEDGE: Final = Path(__file__).resolve().parents[2] / "pillars-detectors"
# Stands in every label where a request's own number goes: no two requests have the same question.
PLACE: Final = "@@@@@@@@"
_SHORTLIST: Final = 8


class Asked(NamedTuple):
    """What is asked of the model."""

    question: LabelQuestion  # its label begins with PLACE
    options: tuple[Option, ...]


def make(count: int) -> list[Asked]:
    """`count` labels of the shipped detector files, spread over all of them."""
    from mapping.engine.types import SAFE, UNKNOWN
    from mapping.evaluation.cases import leave_one_out
    from mapping.resolver.lexical import LexicalIndex
    from mapping.resolver.prompt import options_for
    from taxonomy.documents import read_documents
    from taxonomy.validation import newest_taxonomy

    documents = read_documents(KNOWLEDGE)
    taxonomy = newest_taxonomy(documents).data
    files = [one.data for one in documents if one.kind == "detector"]
    index = LexicalIndex(taxonomy)
    names = list(index.labels)
    for text in index.labels.values():
        index.add(text)
    cases = list(leave_one_out(files))
    made = []
    for number in range(count):
        case = cases[number * len(cases) // count]
        detector, _, category, label, description = case.question[1:]
        cosines = index.cosines(str(label), description)
        nearest = [names[number] for number in (-cosines).argsort(kind="stable")]
        shortlist = [NOT_A_FINDING if name == SAFE else name for name in nearest if name != UNKNOWN]
        question = LabelQuestion(detector, f"{PLACE} {label}", description, category or "")
        options = options_for(shortlist[:_SHORTLIST], taxonomy)
        made.append(Asked(question, tuple(options)))
    # Mixed, since the labels of one file have descriptions and shortlists of similar length.
    random.Random(1).shuffle(made)
    return made


def write(path: Path, asked: list[Asked]) -> None:
    """As one JSON file, for a machine without the knowledge files' packages."""
    path.write_text(json.dumps(asked) + "\n", encoding="utf-8")


def read(path: Path) -> list[Asked]:
    """What `write` wrote."""
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    return [
        Asked(LabelQuestion(*question), tuple(Option(*one) for one in options))
        for question, options in content
    ]
