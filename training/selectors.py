"""Shared reads of versions."""

from pathlib import Path

from django.conf import settings

from mapping.serving.types import ServedModel
from training.errors import VersionError
from training.models import ApprovalKind, ModelApproval, ModelVersion, VersionState
from training.registry import ModelName


def training_folder() -> Path:
    """Where data sets, runs and versions are, on this machine (`training.folder`)."""
    folder: str = settings.CONFIG.training.folder
    return Path(settings.REPOSITORY, folder)


def folder_of_models() -> Path:
    """Where the folders of versions are."""
    return training_folder() / "models"


def find_version(text: str) -> ModelVersion:
    """The version that a person names. Raises RegistryError if the name is none, or not known."""
    name = ModelName.parse(text)
    found = ModelVersion.objects.filter(name=name.name, version=name.version).first()
    if found is None:
        raise VersionError(f"There is no {name}. `manage.py models list` names what there is.")
    return found


def live_version() -> ModelVersion | None:
    """The version that was promoted last; None if the model is that of pillars.yaml, or none."""
    return ModelVersion.objects.filter(state=VersionState.LIVE).first()


def standing_approval(version: ModelVersion) -> ModelApproval | None:
    """The approval that counts; None if there is none, or it was withdrawn."""
    last = version.approvals.select_related("person").order_by("-number").first()
    return last if last is not None and last.kind == ApprovalKind.GIVEN else None


def served_model(version: ModelVersion) -> ServedModel:
    """The version as the serving table keeps it, with its calibrator."""
    return ServedModel.of(
        {
            "version": str(version),
            "adapter": version.served,
            "adapter_sha256": version.adapter_sha256,
            "base": version.base,
            "base_sha256": version.base_sha256,
            "calibrator": version.calibrator,
        }
    )
