"""Verbs on versions of models: register, evaluate, approve. See training.promotion for the rest."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from access.users.models import User
from audit.services import record
from tenants.context import public_context
from training.errors import NothingToDoError, VersionError
from training.models import (
    ApprovalKind,
    ModelApproval,
    ModelTransition,
    ModelVersion,
    VersionState,
)
from training.registry import ExistsError, ModelName, ModelPackage, read
from training.registry.package import check_evaluation
from training.registry.storage import DiskStore, store_at
from training.selectors import folder_of_models

REASON_CHARS = 300


@transaction.atomic
def register_version(*, folder: Path, author: User, actor: str = "") -> ModelVersion:
    """Take a packed version in: check its files, keep them, and write it down as a draft.

    With an evaluation in the folder it is evaluated at once. `actor`: who does it for `author`, if
    not they themselves. Raises RegistryError for files that are no version, ExistsError if it is
    there.
    """
    package = read(folder)
    with public_context():
        refuse_registered(package.name)
        _keep(package)
        version = ModelVersion.objects.create(
            **_columns(package), author=author, created_by=actor or _user(author)
        )
        _write_step(version, "", VersionState.DRAFT, version.created_by, "Registered")
        _record("registered", version, version.created_by, {"adapter": version.adapter_sha256})
        if package.evaluation is not None:
            _evaluate(version, package.evaluation, version.created_by)
    return version


def refuse_registered(name: ModelName) -> None:
    """Raises ExistsError."""
    if ModelVersion.objects.filter(name=name.name, version=name.version).exists():
        raise ExistsError(f"{name} is registered already, and versions never change.")


@transaction.atomic
def attach_evaluation(
    *, version: ModelVersion, content: Mapping[str, Any], actor: str
) -> ModelVersion:
    """Give a draft its evaluation, once. Raises RegistryError if it is of something else."""
    with public_context():
        found = locked(version)
        if found.state != VersionState.DRAFT:
            raise VersionError(f"{found} is {found.state}: only a draft is given an evaluation.")
        check_evaluation(content, found.manifest, found.adapter_sha256)
        _evaluate(found, dict(content), actor)
    return found


@transaction.atomic
def approve(*, version: ModelVersion, person: User, comment: str = "") -> ModelVersion:
    """A second person's yes. Raises VersionError: they made it, or it is not evaluated."""
    with public_context():
        found = locked(version)
        if found.state == VersionState.APPROVED:
            raise NothingToDoError(f"{found} is approved already.")
        if found.state != VersionState.EVALUATED:
            raise VersionError(f"{found} is {found.state}: only what is evaluated is approved.")
        if made_by(found, person):
            raise VersionError(
                f"{person.username} registered or trained {found}. Somebody else approves it."
            )
        _say(found, ApprovalKind.GIVEN, person, comment)
        step(found, VersionState.APPROVED, _user(person), comment)
    return found


@transaction.atomic
def withdraw_approval(*, version: ModelVersion, person: User, reason: str) -> ModelVersion:
    """Take an approval back. Raises VersionError if none stands, or the version is live."""
    with public_context():
        found = locked(version)
        if found.state == VersionState.LIVE:
            raise VersionError(f"{found} is live. Roll back or promote another version first.")
        if found.state != VersionState.APPROVED:
            raise NothingToDoError(f"{found} is {found.state}: there is no approval to withdraw.")
        _say(found, ApprovalKind.WITHDRAWN, person, reason)
        step(found, VersionState.EVALUATED, _user(person), reason)
    return found


def made_by(version: ModelVersion, person: User) -> bool:
    """Whether the person registered or trained it: then they do not approve it."""
    return version.author_id == person.pk or _user(person) in (
        version.created_by, version.trained_by,
    )  # fmt: skip


def locked(version: ModelVersion) -> ModelVersion:
    """The row as it is now, held until the transaction ends."""
    return ModelVersion.objects.select_for_update().get(pk=version.pk)


def step(
    version: ModelVersion,
    to: VersionState,
    actor: str,
    reason: str,
    gates: list[dict[str, Any]] | None = None,
) -> None:
    """Go to a state, with its line of history and of the audit trail. The row must be locked."""
    before = version.state
    _write_step(version, before, to, actor, reason, gates)
    version.state = to
    version.save(update_fields=["state"])
    _record(to, version, actor, {"from": before, "reason": reason[:REASON_CHARS]})


def bring(version: ModelVersion) -> Path:
    """The folder of a version on this machine; fetched from the store if it is not here.

    Raises RegistryError if the store does not give it, or gives another one.
    """
    models = folder_of_models()
    store = store_at(settings.CONFIG.training.store)
    if store is not None and not (models / version.served).exists():
        store.get(version.named, models)
    return models / version.served


def _evaluate(version: ModelVersion, evaluation: dict[str, Any], actor: str) -> None:
    version.evaluation = evaluation
    version.save(update_fields=["evaluation"])
    rows = evaluation["rows"]
    step(version, VersionState.EVALUATED, actor, f"Evaluated on {rows} rows")


def _say(version: ModelVersion, kind: ApprovalKind, person: User, comment: str) -> None:
    ModelApproval.objects.create(
        version=version,
        number=version.approvals.count() + 1,
        kind=kind,
        person=person,
        comment=comment.strip()[:REASON_CHARS],
    )


def _write_step(
    version: ModelVersion,
    before: str,
    to: VersionState,
    actor: str,
    reason: str,
    gates: list[dict[str, Any]] | None = None,
) -> None:
    ModelTransition.objects.create(
        version=version,
        number=version.transitions.count() + 1,
        from_state=before,
        to_state=to,
        actor=actor[:200],
        reason=reason.strip()[:REASON_CHARS],
        gates=gates,
    )


def _record(verb: str, version: ModelVersion, actor: str, detail: dict[str, Any]) -> None:
    record(action=f"model_version.{verb}", actor=actor, target=str(version), detail=detail)


def _columns(package: ModelPackage) -> dict[str, Any]:
    manifest = package.manifest
    by = package.training.get("started_by")
    return {
        "name": package.name.name,
        "version": package.name.version,
        "adapter_sha256": package.adapter.sha256,
        "base": package.base.name,
        "base_sha256": package.base.sha256,
        **{name: manifest[name] for name in ("data_set", "prompt", "edition", "encoder")},
        "manifest": manifest,
        "calibrator": package.calibrator,
        "training": package.training,
        "card": package.card,
        "trained_by": by[:200] if isinstance(by, str) else "",
    }


def _keep(package: ModelPackage) -> None:
    """In this machine's folder of versions, and in the store besides if one is configured.

    A registration that was interrupted may be repeated: what is there is compared, not replaced.
    """
    models = folder_of_models()
    place = models / package.name.served
    if place.exists():
        _same(package, read(place), "folder of versions")
    else:
        DiskStore(models).put(package)
    store = store_at(settings.CONFIG.training.store)
    if store is None:
        return
    if not store.exists(package.name):
        store.put(package)
        return
    with tempfile.TemporaryDirectory(prefix="pillars-version-") as scratch:
        _same(package, store.get(package.name, Path(scratch)), "store")


def _same(package: ModelPackage, other: ModelPackage, where: str) -> None:
    if package.manifest != other.manifest:
        raise ExistsError(
            f"The {where} holds another {package.name}, and versions never change. Give the next "
            "version."
        )


def _user(person: User) -> str:
    return f"user:{person.get_username()}"
