"""Where runs and data sets are on this machine, and which data sets and profiles there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from training.datasets import store
from training.datasets.store import StoreError
from training.lora.profiles import Profile, profile, profiles
from training.lora.refusals import Refused
from training.runs.errors import RunError
from training.selectors import training_folder

METRICS = "metrics.jsonl"
LOG = "trainer.log"
CARD = "run.json"
CANCEL = "cancel"
ADAPTER = "adapter"
PACKAGED_PROFILE = "smollm2"  # for the base model that comes with Pillars


def folder_of_data_sets() -> Path:
    """Where the store keeps them."""
    return training_folder() / "datasets"


def folder_of_run(run_id: Any) -> Path:
    """Where a run's files are: metrics, log, checkpoints, adapter."""
    return training_folder() / "runs" / str(run_id)


def base_model() -> str:
    """What the setting `training.base` names: `packaged`, or a path."""
    base: str = settings.CONFIG.training.base
    return str(Path(settings.REPOSITORY, base)) if base else "packaged"


@dataclass(frozen=True, slots=True)
class DataSetChoice:
    """A data set that may be trained on."""

    digest: str
    name: str
    rows: int  # of the training split
    edition: str

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:8]}: {self.rows:,} rows, taxonomy {self.edition}"


def data_sets() -> list[DataSetChoice]:
    """Those in the store whose manifest can be read, the newest first."""
    known = sorted(
        store.folders(folder_of_data_sets()),
        key=lambda one: (one / store.MANIFEST).stat().st_mtime_ns,
        reverse=True,
    )
    found = []
    for one in known:
        try:
            found.append(_choice(store.read_manifest(one)))
        except StoreError:
            continue  # the page offers what can be used; `train --dataset` says what is wrong
    return found


def find_data_set(name: str) -> DataSetChoice:
    """By its name, or the beginning of its digest. Raises RunError."""
    root = folder_of_data_sets()
    try:
        place = store.find(root, name)
        if place.parent.resolve() != root.resolve():
            raise RunError(
                f"{place} is not in the store ({root}). Name a data set that is.", "data_set"
            )
        return _choice(store.read_manifest(place))
    except StoreError as error:
        raise RunError(str(error), "data_set") from None


def _choice(manifest: Mapping[str, Any]) -> DataSetChoice:
    return DataSetChoice(
        manifest["digest"], manifest["name"], int(manifest["splits"]["train"]["rows"]),
        manifest["edition"],
    )  # fmt: skip


def profile_choices() -> list[tuple[str, str]]:
    """Names and descriptions of the profiles that come with the trainer."""
    return [(one.name, f"{one.name}: {one.description}") for one in profiles()]


def resolved(name: str, overrides: Mapping[str, str]) -> Profile:
    """The profile with its overrides. Raises RunError, which names the field at fault."""
    known = [one for one, _ in profile_choices()]
    if name not in known:
        raise RunError(f"There is no profile {name}: choose one of {', '.join(known)}.", "profile")
    try:
        return profile(name, [f"{key}={value}" for key, value in overrides.items()])
    except Refused as error:
        raise RunError(str(error).partition(".yaml: ")[2] or str(error), "overrides") from None


def overrides_of(lines: list[str]) -> dict[str, str]:
    """`key=value` texts as a mapping. Raises RunError."""
    found: dict[str, str] = {}
    for line in lines:
        key, equals, value = (part.strip() for part in line.partition("="))
        if not (key and equals and value):
            raise RunError(f"Write key=value, not {line.strip()!r}.", "overrides")
        if key in found:
            raise RunError(f"{key} is there twice.", "overrides")
        found[key] = value
    return found
