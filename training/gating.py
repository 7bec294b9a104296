"""What the gates of a version say now: of its files, data and figures, and how it is served."""

from django.conf import settings

from mapping.resolver.prompt import prompt_version
from mapping.resolvers import encoder_digest
from taxonomy.selectors import current_release
from training.datasets.check import check as check_data_set
from training.datasets.sources import SourceError
from training.datasets.store import Stored, StoreError, folder_of, load
from training.datasets.validate import blocking
from training.models import ModelVersion
from training.registry import RegistryError, read
from training.registry.evaluation import Evaluation
from training.registry.gates import Candidate, Gate, Limits, Serving, check
from training.selectors import folder_of_models, live_version, training_folder

_checked: dict[str, str] = {}  # digest of a data set -> what is wrong with its samples


def gates_of(version: ModelVersion, *, thorough: bool = False) -> list[Gate]:
    """Every gate. Reads all files of the version and of its data set.

    `thorough`: also compares the data set's samples with the knowledge, which takes seconds.
    """
    problem, good = _data_set_problem(version.data_set, thorough=thorough)
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
            data_set=problem,
            data_set_good=good,
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


def _data_set_problem(digest: str, *, thorough: bool) -> tuple[str | None, str]:
    """Why the data set cannot be relied on (None: it is not here), and what to say if it can."""
    folder = folder_of(training_folder() / "datasets", digest)
    if not folder.is_dir():
        return None, ""
    try:
        stored = load(folder)
        if stored.digest != digest:
            return f"The folder {folder.name} holds another data set.", ""
        if not thorough and digest not in _checked:
            return "", "Every file of it is as made; its samples are checked at the promotion."
        return _samples_problem(stored), "It passed its checks."
    except (StoreError, SourceError) as error:
        return str(error), ""


def _samples_problem(stored: Stored) -> str:
    """The same of its samples. It takes seconds, so it is done once a process: content is named by
    its digest, and the detector files change with a new version of the code.
    """
    if stored.digest not in _checked:
        found = blocking(check_data_set(stored, settings.KNOWLEDGE_DIR))
        _checked[stored.digest] = " ".join(one.message for one in found)
    return _checked[stored.digest]
