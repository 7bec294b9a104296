"""What the gates of a version say now: of its files, data and figures, and how it is served."""

from pathlib import Path

from django.conf import settings

from mapping.resolver.prompt import prompt_version
from mapping.resolvers import encoder_digest
from taxonomy.selectors import current_release
from training.models import ModelVersion
from training.registry import RegistryError, read
from training.registry.adapter import read_object, sha256_of
from training.registry.evaluation import Evaluation
from training.registry.gates import Candidate, Gate, Limits, Serving, check
from training.selectors import folder_of_models, live_version, training_folder


def gates_of(version: ModelVersion) -> list[Gate]:
    """Every gate. Reads all files of the version and of its data set."""
    live = live_version()
    if live is not None and live.pk == version.pk:
        live = None  # it is not compared with itself
    return check(
        Candidate(
            served=version.served,
            adapter_sha256=version.adapter_sha256,
            base=version.base,
            base_sha256=version.base_sha256,
            evaluation=_evaluation(version),
            calibrator=version.calibrator,
            files=files_problem(version),
            data_set=_data_set_problem(version.data_set),
        ),
        limits_now(),
        _serving_now(),
        None if live is None else _evaluation(live),
        has_live=live is not None,
    )


def limits_now() -> Limits:
    """Of pillars.yaml."""
    section = settings.CONFIG.training
    return Limits(
        min_f1=section.gate_min_f1,
        min_parent=section.gate_min_parent,
        max_ece=section.gate_max_ece,
        max_p95_ms=section.gate_max_p95_ms,
        most_points_worse=section.gate_points_worse / 100,
    )


def files_problem(version: ModelVersion) -> str:
    """Why the files on this machine are not the ones that were registered; empty if they are."""
    try:
        found = read(folder_of_models() / version.served)
    except RegistryError as error:
        return str(error)
    if found.manifest != version.manifest:
        return "The folder holds another version than the one that was registered."
    return ""


def _evaluation(version: ModelVersion) -> Evaluation | None:
    return None if version.evaluation is None else Evaluation.of(version.evaluation)


def _serving_now() -> Serving:
    section = settings.CONFIG.inference
    release = current_release()
    return Serving(
        backend=section.backend,
        base=section.model,
        base_sha256=section.model_digest,
        prompt=prompt_version(),
        encoder=encoder_digest() or "",
        edition="" if release is None else release.taxonomy.edition,
    )


def _data_set_problem(digest: str) -> str | None:
    """Why the data set cannot be relied on; None if it is not here to be looked at."""
    folder = training_folder() / "datasets" / digest[:16]
    if not (folder / "manifest.json").is_file():
        return None
    try:
        manifest = read_object(folder / "manifest.json")
        if manifest.get("digest") != digest:
            return "The folder of the data set holds another one."
        return _altered(folder, manifest["splits"])
    except (RegistryError, OSError, KeyError, TypeError, AttributeError) as error:
        return f"The data set cannot be read ({type(error).__name__}). Build it again."


def _altered(folder: Path, splits: dict[str, dict[str, str]]) -> str:
    for name in ("train", "validation", "test"):
        if sha256_of(folder / splits[name]["file"]) != splits[name]["sha256"]:
            return f"The {name} split of the data set was altered. Build it again."
    return ""
