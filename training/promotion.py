"""Promote, roll back, retire: one at a time, behind the gates, with nothing in between lost.

A promotion loads the adapter beside the one that answers, checks that it answers, and then, in one
transaction, lets it answer and writes that down. Whatever stops it before that leaves the old
version live, and an adapter loaded that answers nobody: promoting again goes on from there.
"""

import structlog
from django.db import connection, transaction

from audit.services import record
from mapping.serving.errors import NothingToDoError as ServedAlreadyError
from mapping.serving.errors import NothingToRollBackError, ServingError
from mapping.serving.history import live_before, models_to_keep
from mapping.serving.in_force import read_serving
from mapping.serving.services import serve_live, serve_previous
from tenants.context import public_context
from training.errors import GatesError, NothingToDoError, VersionError
from training.gating import gates_of
from training.models import ModelVersion, VersionState
from training.registry import RegistryError
from training.registry.deploy import Deployer, DeployError
from training.registry.gates import passed
from training.selectors import find_version, live_version, served_model
from training.server import deployer_of_settings
from training.services import bring, locked, step

log = structlog.get_logger("training.promotion")

_LOCK = 0x6D6F64656C  # of promotions: one number for all, in every process
_OF_FILE = "pillars.yaml"


def promote(
    *, version: ModelVersion, reason: str, actor: str, deployer: Deployer | None = None
) -> ModelVersion:
    """Let an approved version answer everybody. There is no way around the gates.

    Raises GatesError, NothingToDoError if it is live, VersionError if it is not approved, another
    promotion is under way or the server does not serve it; then what was live stays live.
    """
    try:
        with transaction.atomic(), public_context():
            return _promote(version, reason, actor, deployer)
    except GatesError as error:
        # After the transaction, which took everything else back: that somebody tried is kept.
        failed = [gate.name for gate in error.gates if not gate.passed]
        _record("blocked", str(version), actor, {"gates": failed})
        raise
    except (DeployError, ServingError) as error:
        _record("promotion_failed", str(version), actor, {"error": type(error).__name__})
        raise VersionError(f"{version} was not promoted: {error}") from error


def rollback(*, reason: str, actor: str, deployer: Deployer | None = None) -> ModelVersion | None:
    """Let the version answer again that was live before. None: that is the one of pillars.yaml.

    It is loaded still, and loaded again only if the server has lost it; gates are not asked.
    Raises NothingToDoError if nothing was live before, VersionError if it cannot be.
    """
    try:
        with transaction.atomic(), public_context():
            return _roll_back(reason, actor, deployer)
    except NothingToRollBackError as error:
        raise NothingToDoError(str(error)) from error
    except (DeployError, ServingError) as error:
        _record("rollback_failed", "", actor, {"error": type(error).__name__})
        raise VersionError(
            f"Nothing was rolled back: {error} Until it is, rules alone can map: "
            "`manage.py kill_switch on`."
        ) from error


def retire(
    *, version: ModelVersion, reason: str, actor: str, deployer: Deployer | None = None
) -> ModelVersion:
    """Let a version never be promoted again. Raises VersionError while it answers anybody."""
    with transaction.atomic(), public_context():
        _alone()
        found = locked(version)
        if found.state == VersionState.RETIRED:
            raise NothingToDoError(f"{found} is retired already.")
        serving = read_serving()
        answering = [one.version for one in (serving.live, serving.trial) if one is not None]
        if found.state == VersionState.LIVE or str(found) in answering:
            raise VersionError(
                f"{found} answers. Roll back or promote another version, or end the trial, first."
            )
        step(found, VersionState.RETIRED, actor, reason)
        transaction.on_commit(lambda: _unload({found.served}, deployer))
    return found


def _promote(
    version: ModelVersion, reason: str, actor: str, deployer: Deployer | None
) -> ModelVersion:
    _alone()
    found = locked(version)
    serving = read_serving()
    serves = serving.live is not None and serving.live.version == str(found)
    if found.state == VersionState.LIVE and serves:
        raise NothingToDoError(f"{found} is live already. There is nothing to do.")
    if found.state not in (VersionState.APPROVED, VersionState.LIVE):
        raise VersionError(
            f"{found} is {found.state}: only an approved version is promoted."
            + (" Somebody who did not make it approves it first."
               if found.state == VersionState.EVALUATED else "")
        )  # fmt: skip
    folder = bring(found)
    gates = gates_of(found, thorough=True)
    if not passed(gates):
        raise GatesError(str(found), gates)
    server = deployer or deployer_of_settings()
    server.deploy(folder, found.served)
    server.parity(found.served)
    kept = _kept()
    try:
        serve_live(model=served_model(found), reason=reason, actor=actor)
    except ServedAlreadyError:
        log.warning("registry_follows_serving", target=str(found))
    _follow(actor, reason, [gate.as_dict() for gate in gates])
    transaction.on_commit(lambda: _unload(kept - _kept(), server))
    found.refresh_from_db()
    return found


def _roll_back(reason: str, actor: str, deployer: Deployer | None) -> ModelVersion | None:
    _alone()
    before = live_before()
    if before is None:
        raise NothingToRollBackError("There is nothing to roll back to: nothing was live before.")
    target = None if before.model is None else _registered(before.model.version)
    if target is not None:
        target = locked(target)
        if target.state != VersionState.APPROVED:
            raise VersionError(
                f"{target} was live before and is {target.state} now. Promote an approved version, "
                "or let rules alone map: `manage.py kill_switch on`."
            )
        _make_sure(deployer or deployer_of_settings(), target)
    kept = _kept()
    serve_previous(reason=reason, actor=actor)
    _follow(actor, reason, None)
    if target is not None:
        target.refresh_from_db()
    transaction.on_commit(lambda: _unload(kept - _kept(), deployer))
    return target


def _make_sure(server: Deployer, target: ModelVersion) -> None:
    """It is loaded from when it was live; a server that was restarted since has lost it."""
    try:
        server.parity(target.served)
    except DeployError:
        server.deploy(bring(target), target.served)
        server.parity(target.served)


def _follow(actor: str, reason: str, gates: list[dict[str, object]] | None) -> None:
    """Make the states say what the serving table says: also after somebody changed it alone."""
    serving = read_serving()
    named = None if serving.live is None else serving.live.version
    live = live_version()
    if live is not None and str(live) != named:
        step(locked(live), VersionState.APPROVED, actor, f"No longer live: {reason}")
    target = None if named is None else _registered(named)
    if target is not None and target.state != VersionState.LIVE:
        step(locked(target), VersionState.LIVE, actor, reason, gates)


def _registered(text: str) -> ModelVersion | None:
    try:
        return find_version(text)
    except RegistryError:
        return None


def _kept() -> set[str]:
    """Names of the adapters that must stay loaded: live, the one before it, on trial."""
    return {one.adapter for one in models_to_keep()}


def _unload(names: set[str], deployer: Deployer | None) -> None:
    """After everything is written down: what fails here costs memory, no answer."""
    for name in sorted(names):
        try:
            (deployer or deployer_of_settings()).undeploy(name)
        except (DeployError, VersionError) as error:
            log.warning("adapter_not_unloaded", target=name, error=type(error).__name__)


def _alone() -> None:
    """One promotion, rollback or retirement at a time, in all processes. Raises VersionError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        (free,) = cursor.fetchone()
    if not free:
        raise VersionError(
            "Another promotion or rollback is under way. Wait until it is done, then look again."
        )


def _record(verb: str, target: str, actor: str, detail: dict[str, object]) -> None:
    with public_context():
        record(action=f"model_version.{verb}", actor=actor, target=target, detail=detail)
