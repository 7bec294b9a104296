"""Checks a data set that is kept: its samples against the knowledge it was made of."""

from pathlib import Path

from training.datasets.findings import Finding
from training.datasets.sides import SIDES
from training.datasets.sources import (
    Item,
    Knowledge,
    SourceError,
    encoder_dataset,
    file_digest,
    glossary_items,
    read_knowledge,
)
from training.datasets.spellings import Known
from training.datasets.store import Stored
from training.datasets.synthetic import WORDING, invent
from training.datasets.validate import validate
from training.encoder.data import Dataset


def check(stored: Stored, directory: Path) -> list[Finding]:
    """What is wrong with it, errors first.

    Detector files may have changed since: labels that are answered otherwise now are errors.
    Raises SourceError if the edition's file is not the one that the set was made of.
    """
    known = read_knowledge(directory, stored.manifest["edition"])
    if known.taxonomy != stored.taxonomy():
        raise SourceError(
            f"taxonomy/{stored.manifest['edition']}.yaml: is another than the data set was made "
            "of. A published edition never changes: restore it, or build the set anew."
        )
    dataset = encoder_dataset(known)
    rows = {side: stored.rows(side) for side in SIDES}
    invented = _invented(stored, known, dataset)
    return validate(rows, known, dataset, invented, stored.manifest["splits"])


def _invented(stored: Stored, known: Knowledge, dataset: Dataset) -> list[Item] | None:
    """What was invented for it; None if it was made from other wording or detector files."""
    sources = stored.manifest["sources"]
    today = {
        "wording": file_digest([WORDING]),
        "glossary": known.digests["glossary"],
        "detectors": known.digests["detectors"],
    }
    config = stored.manifest["config"]
    if config["decisions"] or any(sources.get(name) != sha for name, sha in today.items()):
        return None
    seed = stored.manifest["seed"]
    names = list(dataset.texts)
    return [
        *invent(known.taxonomy, names, Known.of(dataset), config["synthetic"], seed),
        *glossary_items(dataset.written, config["glossary"], seed),
    ]
