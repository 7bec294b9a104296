"""A version of a model as a folder that never changes: made once, checked whenever it is read.

adapter_config.json, adapter_model.safetensors, calibrator.json, training.json (of the run),
environment.json, evaluation.json (absent from a draft), README.md (the card), and manifest.json,
which names the version, what it was made of, and the SHA-256 and size of every other file.
"""

import json
import shutil
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mapping.resolver.calibrate import Calibrator, CalibratorError
from training.registry.adapter import (
    CONFIG,
    WEIGHTS,
    AdapterFacts,
    check_adapter,
    read_config,
    read_object,
    sha256_of,
)
from training.registry.card import model_card
from training.registry.errors import CorruptError, RegistryError
from training.registry.evaluation import Evaluation
from training.registry.files import new_folder
from training.registry.names import ModelName

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
CARD: Final = "README.md"
CALIBRATOR: Final = "calibrator.json"
TRAINING: Final = "training.json"
ENVIRONMENT: Final = "environment.json"
EVALUATION: Final = "evaluation.json"
REQUIRED: Final = frozenset({CONFIG, WEIGHTS, CALIBRATOR, TRAINING, ENVIRONMENT, CARD})
OPTIONAL: Final = frozenset({EVALUATION})
_FACTS: Final = ("data_set", "prompt", "edition", "encoder")
_MOST_JSON_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Base:
    """The base model that an adapter was trained on."""

    name: str
    sha256: str  # of its weights as they were published


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a version is made of."""

    adapter: Path  # folder as PEFT writes it
    calibrator: Path
    training: Path  # run.json of the run
    environment: Mapping[str, Any]
    base: Base
    data_set: str  # digest
    prompt: str
    edition: str
    encoder: str  # SHA-256
    evaluation: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None  # of the base, where it is at hand
    license_id: str = "apache-2.0"


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A version whose files have all been checked."""

    folder: Path
    name: ModelName
    manifest: dict[str, Any]
    adapter: AdapterFacts
    calibrator: dict[str, Any]  # as it stands in the file: it travels with what is served
    training: dict[str, Any]
    environment: dict[str, Any]
    evaluation: dict[str, Any] | None
    card: str

    @property
    def base(self) -> Base:
        """Of the manifest."""
        return Base(**self.manifest["base"])


def build(made_of: Ingredients, name: ModelName, models: Path) -> ModelPackage:
    """Make the folder of a version in `models`, whole or not at all, and read it back.

    Raises ExistsError, CorruptError or RegistryError; then nothing is left.
    """
    place = models / name.served
    with new_folder(place) as scratch:
        _copy_adapter(made_of, scratch)
        for source, target in (
            (made_of.calibrator, CALIBRATOR),
            (made_of.training, TRAINING),
            (made_of.evaluation, EVALUATION),
        ):
            if source is not None:
                read_object(source)
                shutil.copyfile(source, scratch / target)
        _write(scratch / ENVIRONMENT, dict(made_of.environment))
        _complete(made_of, name, scratch)
        _checked(scratch, name, made_of.shapes)
    return read(place)


def read(
    folder: Path,
    *,
    base: Base | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> ModelPackage:
    """A version whose every file is as it was made. `base`: refuse one that was made for another.

    `shapes`: of the base model's weights, to compare the adapter's with. Raises CorruptError for
    files that are missing, too many, altered or broken, RegistryError for another base.
    """
    found = _checked(folder, ModelName.parse(folder.name), shapes)
    if base is not None and found.base != base:
        raise RegistryError(
            f"{found.name} was made for {found.base.name} ({found.base.sha256[:12]}...), and "
            f"{base.name} ({base.sha256[:12]}...) is served. Serve its base, or train a version "
            "for this one."
        )
    return found


def versions_in(models: Path) -> list[ModelName]:
    """The versions that have a folder in `models`, in order. Nothing is checked."""
    found = []
    for path in models.glob("*/" + MANIFEST):
        try:
            found.append(ModelName.parse(path.parent.name))
        except RegistryError:
            continue
    return sorted(found)


def _copy_adapter(made_of: Ingredients, scratch: Path) -> None:
    """The weights as they are; in the configuration the base by name, not by somebody's path."""
    config = read_config(made_of.adapter)
    if not (made_of.adapter / WEIGHTS).is_file():
        raise CorruptError(f"{WEIGHTS} is missing.")
    _write(scratch / CONFIG, {**config, "base_model_name_or_path": made_of.base.name})
    shutil.copyfile(made_of.adapter / WEIGHTS, scratch / WEIGHTS)


def _complete(made_of: Ingredients, name: ModelName, scratch: Path) -> None:
    """Card and manifest, which come from the other files."""
    base = {"name": made_of.base.name, "sha256": made_of.base.sha256}
    facts = {fact: str(getattr(made_of, fact)) for fact in _FACTS}
    evaluation = scratch / EVALUATION
    card = model_card(
        name=name,
        base=base,
        facts=facts,
        adapter=check_adapter(scratch, made_of.shapes),
        training=read_object(scratch / TRAINING),
        environment=made_of.environment,
        evaluation=Evaluation.of(read_object(evaluation)) if evaluation.exists() else None,
        license_id=made_of.license_id,
    )
    (scratch / CARD).write_text(card, encoding="utf-8")
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(scratch.iterdir())
    }
    manifest = {
        "format": FORMAT, "name": name.name, "version": name.version, "files": files,
        "base": base, **facts, "license": made_of.license_id,
    }  # fmt: skip
    _write(scratch / MANIFEST, manifest)


def _checked(
    folder: Path, name: ModelName, shapes: Mapping[str, tuple[int, ...]] | None
) -> ModelPackage:
    manifest = _manifest(folder, name)
    _check_files(folder, manifest["files"])
    adapter = check_adapter(folder, shapes)
    base = read_config(folder).get("base_model_name_or_path")
    if base != manifest["base"]["name"]:
        raise RegistryError(f"{CONFIG} names another base model than {MANIFEST}.")
    has_evaluation = EVALUATION in manifest["files"]
    found = ModelPackage(
        folder=folder,
        name=name,
        manifest=manifest,
        adapter=adapter,
        calibrator=_calibrator(folder / CALIBRATOR),
        training=read_object(folder / TRAINING),
        environment=read_object(folder / ENVIRONMENT),
        evaluation=read_object(folder / EVALUATION) if has_evaluation else None,
        card=(folder / CARD).read_text(encoding="utf-8"),
    )
    _check_agreement(found)
    return found


def _manifest(folder: Path, name: ModelName) -> dict[str, Any]:
    if not folder.is_dir():
        raise CorruptError(f"There is no folder of {name}.")
    manifest = read_object(folder / MANIFEST)
    files, base = manifest.get("files") or {}, manifest.get("base")
    sound = (
        isinstance(files, dict)
        and all(
            isinstance(one, dict)
            and isinstance(one.get("sha256"), str)
            and type(one.get("bytes")) is int
            for one in files.values()
        )
        and isinstance(base, dict)
        and set(base) == {"name", "sha256"}
        and all(isinstance(manifest.get(fact), str) for fact in _FACTS)
    )
    if manifest.get("format") != FORMAT or not sound:
        raise CorruptError(f"{MANIFEST} of {name} is not one of format {FORMAT}.")
    if (manifest.get("name"), manifest.get("version")) != (name.name, name.version):
        raise CorruptError(f"{MANIFEST} in the folder of {name} is of another version.")
    missing, foreign = REQUIRED - set(files), set(files) - REQUIRED - OPTIONAL
    if missing or foreign:
        raise CorruptError(
            f"{MANIFEST} of {name} does not name the files of a version: {_named(missing, foreign)}"
        )
    return manifest


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Just the files that the manifest names, each as long and with the same bytes as then."""
    there = {path.name for path in folder.iterdir()}
    missing, foreign = set(files) - there, there - set(files) - {MANIFEST}
    if missing or foreign:
        raise CorruptError(
            f"{folder.name} is not as it was made: {_named(missing, foreign)} Get it again."
        )
    for name, entry in sorted(files.items()):
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise CorruptError(f"{folder.name}/{name} is no plain file. Get the version again.")
        if path.stat().st_size != entry["bytes"]:
            raise CorruptError(
                f"{folder.name}/{name} has {path.stat().st_size} bytes and should have "
                f"{entry['bytes']}. Get the version again."
            )
        if name != WEIGHTS and entry["bytes"] > _MOST_JSON_BYTES:
            raise CorruptError(f"{folder.name}/{name} is too large for what it is.")
        if sha256_of(path) != entry["sha256"]:
            raise CorruptError(
                f"{folder.name}/{name} was altered: its SHA-256 is not that of {MANIFEST}. Get "
                "the version again."
            )


def _named(missing: Set[str], foreign: Set[str]) -> str:
    parts = [
        f"{', '.join(sorted(names))} {words}."
        for names, words in ((missing, "missing"), (foreign, "too many"))
        if names
    ]
    return " ".join(parts)[:400]


def _calibrator(path: Path) -> dict[str, Any]:
    try:
        Calibrator.load(path)
    except CalibratorError as error:
        raise CorruptError(str(error)) from None
    return read_object(path)


def _check_agreement(found: ModelPackage) -> None:
    """The run and the evaluation are of this base, data set and adapter, as far as they say."""
    manifest = found.manifest
    trained_on = found.training.get("base")
    if isinstance(trained_on, dict) and trained_on.get("sha256") != manifest["base"]["sha256"]:
        raise RegistryError(
            f"The run of {found.name} trained on another base model than "
            f"{manifest['base']['name']}. Name the base that it was trained on."
        )
    if found.training.get("data_set") not in (None, manifest["data_set"]):
        raise RegistryError(f"The run of {found.name} trained on another data set.")
    if found.evaluation is not None:
        check_evaluation(found.evaluation, manifest, found.adapter.sha256)


def check_evaluation(
    content: Mapping[str, Any], manifest: Mapping[str, Any], adapter_sha256: str
) -> Evaluation:
    """An evaluation that is of this version. Raises RegistryError."""
    evaluation = Evaluation.of(content)
    if evaluation.data_set != manifest["data_set"]:
        raise RegistryError(
            "The evaluation is of another data set than the version was trained on. Evaluate it on "
            "the test split of its own."
        )
    if evaluation.adapter_sha256 not in (None, adapter_sha256):
        raise RegistryError("The evaluation is of another adapter. Evaluate this one.")
    return evaluation


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
