"""From a finished run to a version: judged on detectors that it never saw, packed, written down."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from mapping.evaluation.folds import Folds, FoldsError
from mapping.evaluation.predictors import Known
from mapping.resolver.artifacts import Artifacts, ArtifactsError
from mapping.resolver.types import ChooserError
from mapping.resolvers import artifacts_folder
from mapping.serving.deploy import DeployError
from mapping.worker.weights import Base as Weights
from mapping.worker.weights import WeightsError
from taxonomy.errors import KnowledgeFileError
from training.datasets.store import Stored, StoreError, find, load
from training.held_out.judge import FitError
from training.held_out.questions import HeldOutError, held_out
from training.held_out.run import Judgement, judge
from training.locks import HeldError, hold
from training.models import ModelVersion
from training.registry import ModelName, ModelPackage, RegistryError
from training.registry.adapter import read_object, shapes_in
from training.registry.names import DEFAULT_NAME, Part, next_version
from training.registry.package import Base, Ingredients, build, versions_in
from training.selectors import folder_of_models, training_folder

Say = Callable[[str], None]
LOCK: Final = "evaluate.lock"  # in the training folder
_DONE: Final = ("done", "stopped_early")
_REFUSALS: Final = (
    StoreError, HeldOutError, FitError, FoldsError, ArtifactsError, WeightsError, ChooserError,
    KnowledgeFileError, DeployError,
)  # fmt: skip


class EvaluationError(RegistryError):
    """A run cannot be judged. The message says what to do."""


def finished_run(name: str = "") -> Path:
    """The folder of a run: by path or by the beginning or end of its id; without a name the newest.

    Raises EvaluationError if there is none, or it has not ended well.
    """
    if name and (Path(name) / "run.json").is_file():
        found = [Path(name)]
    else:
        runs = training_folder() / "runs"
        places = {*runs.glob(f"{name}*/run.json"), *runs.glob(f"*{name}/run.json")}
        found = [path.parent for path in places]
        if not name:
            found = [one for one in found if _outcome(one) in _DONE]
    if not found:
        raise EvaluationError(
            f"There is no run {name!r}." if name else "No run has ended yet: `manage.py train`."
        )
    run = max(found, key=lambda one: (one / "run.json").stat().st_mtime_ns)
    if _outcome(run) not in _DONE:
        raise EvaluationError(
            f"Run {run.name} has not ended well ({_outcome(run)}): only a finished one is judged. "
            f"Go on with it: `manage.py train --resume {run.name}`."
        )
    return run


def version_of_run(
    *, run: Path, weights: Weights, directory: Path, name: str = DEFAULT_NAME,
    part: Part = "minor", server: bool = False, say: Say = lambda _text: None,
) -> ModelPackage:  # fmt: skip
    """Judge a run's adapter and make the folder of the next version of it.

    `weights`: the base model that it was trained on; `directory`: the knowledge files; `server`:
    whether the configured server is asked rather than this process (training.asked). Nothing is
    left if it fails. One at a time in a training folder. Raises EvaluationError or RegistryError.
    """
    with _alone(run):
        return _version_of_run(run, weights, directory, name, part, server, say)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Each evaluation takes the next version's number at its beginning, and a folder of that name
    at its end; on the server a run's adapter has one name, whoever asks for it.
    """
    path = training_folder() / LOCK
    try:
        with hold(path, f"run {run.name}"):
            yield
    except HeldError as error:
        what = error.holder.what or "another run"
        raise EvaluationError(
            f"{what[:1].upper()}{what[1:]} is being evaluated by {error.holder}, and one is at a "
            "time. Wait until `manage.py models list` shows its version, or stop that process; "
            "then try again. Nothing was changed."
        ) from None


def _version_of_run(
    run: Path, weights: Weights, directory: Path, name: str, part: Part, server: bool, say: Say
) -> ModelPackage:
    facts = read_object(run / "run.json")
    if facts.get("base", {}).get("sha256") != weights.sha256:
        raise EvaluationError(
            f"Run {run.name} was trained on {facts.get('base', {}).get('name')}, with other "
            f"weights than {weights.name} has here. Name its base: --base."
        )
    given = next_version(_taken(), name, part)
    try:
        stored = load(find(training_folder() / "datasets", str(facts["data_set"])))
        judgement = _judged(run, stored, weights, directory, given, server, say)
    except _REFUSALS as error:
        raise EvaluationError(str(error)) from None
    say(f"packing {given}")
    return _packed(run, facts, stored, weights, given, judgement)


def _judged(
    run: Path, stored: Stored, weights: Weights, directory: Path, name: ModelName, server: bool,
    say: Say,
) -> Judgement:  # fmt: skip
    from training.asked import asked
    from training.held_out.through_map import schema_valid, without_detectors

    artifacts = Artifacts.load(artifacts_folder())
    documents = without_detectors(directory, ())
    known = Known(documents.taxonomy, {file["detector"]: file for file in documents.detectors})
    where = " on the server" if server else ""
    say(f"loading the adapter of run {run.name} on {weights.name}{where}")
    with asked(adapter=run / "adapter", base=weights, name=name.served, server=server) as chooser:
        found = judge(stored, chooser, artifacts, known, _folds(), say=say)
        say("asking /map")
        rows = held_out(stored.rows("test"), known.taxonomy["labels"])
        valid = schema_valid(rows, chooser, found.calibrator, artifacts, directory)
    return Judgement(found.evaluation | {"schema_valid": valid}, found.calibrator)


def _folds() -> Folds | None:
    """Scores of encoders that had not seen a vendor, where they come with the encoder."""
    path = artifacts_folder() / "folds" / "folds.npz"
    return Folds.load(path) if path.is_file() else None


def _packed(
    run: Path,
    facts: dict[str, Any],
    stored: Stored,
    weights: Weights,
    name: ModelName,
    judgement: Judgement,
) -> ModelPackage:
    calibrator = judgement.calibrator
    assert calibrator.identity is not None  # noqa: S101 - fitted for the model
    with tempfile.TemporaryDirectory() as scratch:
        evaluation, fitted = Path(scratch) / "evaluation.json", Path(scratch) / "calibrator.json"
        evaluation.write_text(json.dumps(judgement.evaluation, indent=2), encoding="utf-8")
        calibrator.save(fitted)
        return build(
            Ingredients(
                adapter=run / "adapter",
                calibrator=fitted,
                training=run / "run.json",
                evaluation=evaluation,
                environment=dict(facts.get("environment") or {}),
                base=Base(weights.name, weights.sha256),
                data_set=stored.digest,
                prompt=calibrator.identity.prompt,
                edition=calibrator.edition,
                encoder=calibrator.encoder,
                shapes=shapes_in(weights.folder),
            ),
            name,
            folder_of_models(),
        )


def _taken() -> list[ModelName]:
    """Versions that have a folder or a row, and what the server was started with: it has neither,
    and the server takes no other adapter under its name.
    """
    rows = ModelVersion.objects.values_list("name", "version")
    found = [ModelName.parse(f"{name}@v{version}") for name, version in rows]
    with suppress(RegistryError):
        found.append(ModelName.parse(settings.CONFIG.inference.adapter))
    return [*versions_in(folder_of_models()), *found]


def _outcome(run: Path) -> str:
    return str(read_object(run / "run.json").get("outcome"))
