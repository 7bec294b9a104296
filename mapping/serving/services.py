"""Verbs on who answers: promote, roll back, try a version beside the live one.

Each writes a further row, holds for the whole platform and reaches every process within two
seconds. None of them talks to the model's server: whoever promotes loads the adapter first (see
deploy), and the one before stays loaded, so that a way back needs no loading.
"""

import uuid
from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from audit.services import record
from mapping.serving.errors import NothingToDoError, NothingToRollBackError, ServingError
from mapping.serving.fitting import check_fits
from mapping.serving.history import live_before
from mapping.serving.in_force import look_again
from mapping.serving.models import ServingChoice, ServingKind
from mapping.serving.types import ServedModel
from tenants.context import public_context
from tenants.selectors import active_tenants

_OF_FILE = "pillars.yaml"


@transaction.atomic
def serve_live(*, model: ServedModel, reason: str, actor: str) -> ServingChoice:
    """Let a version answer everybody. A trial that goes on ends with it.

    Raises NothingToDoError if it is live, ServingError if its calibrator does not fit.
    """
    check_fits(model)
    with public_context():
        last = _locked()
        _check_not_live(model, last)
        return _choose(last, ServingKind.PROMOTED, model.as_json(), reason, actor)


@transaction.atomic
def serve_previous(*, reason: str, actor: str) -> ServingChoice:
    """Let the version answer again that was live before this one. A trial that goes on ends.

    Raises NothingToRollBackError if there was none.
    """
    with public_context():
        last = _locked()
        before = live_before()
        if before is None:
            raise NothingToRollBackError(
                "There is nothing to roll back to: no other version was live before this one."
            )
        return _choose(last, ServingKind.ROLLED_BACK, before.live, reason, actor)


@transaction.atomic
def start_trial(
    *,
    model: ServedModel,
    tenants: Collection[uuid.UUID] = (),
    share: float = 0.0,
    shadow: bool = False,
    reason: str,
    actor: str,
) -> ServingChoice:
    """Let a version answer some beside the live one: tenants, and a sticky share of labels (0..1).

    `shadow`: it is also asked what the live version is asked, and the answers are compared.
    Raises ServingError: one is on trial already, it is the live one, its calibrator does not fit,
    a tenant is unknown, the share is none, or it would answer nobody.
    """
    check_fits(model)
    with public_context():
        last = _locked()
        if last is not None and last.trial is not None:
            raise ServingError(
                f"{last.trial['version']} is on trial already. End that trial first."
            )
        _check_not_live(model, last)
        trial = _trial(tenants, share, shadow)
        live = last.live if last is not None else None
        return _choose(
            last, ServingKind.TRIAL_STARTED, live, reason, actor, trial=model.as_json(), **trial
        )


@transaction.atomic
def change_trial(
    *,
    tenants: Collection[uuid.UUID] | None = None,
    share: float | None = None,
    shadow: bool | None = None,
    reason: str,
    actor: str,
) -> ServingChoice:
    """Let the version on trial answer others; None: as until now. Raises ServingError."""
    with public_context():
        last = _on_trial(_locked())
        trial = _trial(
            last.trial_tenants if tenants is None else tenants,
            last.trial_share if share is None else share,
            last.shadow if shadow is None else shadow,
        )
        was = (sorted(last.trial_tenants), last.trial_share, last.shadow)
        if (trial["trial_tenants"], trial["trial_share"], trial["shadow"]) == was:
            raise NothingToDoError("The trial is so already. There is nothing to do.")
        return _choose(
            last, ServingKind.TRIAL_CHANGED, last.live, reason, actor, trial=last.trial, **trial
        )


@transaction.atomic
def end_trial(*, reason: str, actor: str) -> ServingChoice:
    """Let the live version answer everybody. Raises ServingError if none is on trial."""
    with public_context():
        last = _on_trial(_locked())
        return _choose(last, ServingKind.TRIAL_ENDED, last.live, reason, actor)


def _locked() -> ServingChoice | None:
    """The choice in force, held until the transaction ends: one at a time, reading goes on."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {ServingChoice._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return ServingChoice.objects.order_by("-number").first()


def _on_trial(last: ServingChoice | None) -> ServingChoice:
    if last is None or last.trial is None:
        raise ServingError("No version is on trial.")
    return last


def _check_not_live(model: ServedModel, last: ServingChoice | None) -> None:
    live = last.live if last is not None else None
    if live is None:
        named, adapter = _OF_FILE, settings.CONFIG.inference.adapter
    else:
        named, adapter = live["version"], live["adapter"]
    if live is not None and live["version"] == model.version:
        raise NothingToDoError(f"{model.version} is live already. There is nothing to do.")
    if adapter == model.adapter:
        raise ServingError(
            f"The live model ({named}) is served under the name {adapter!r} too. Give each version "
            "a name of its own."
        )


def _trial(tenants: Collection[uuid.UUID], share: float, shadow: bool) -> dict[str, Any]:
    """The columns of a trial. Raises ServingError."""
    if not 0 <= share <= 1:  # also for what is no number
        raise ServingError("The share of labels must be between 0 and 1.")
    wanted = set(tenants)
    known = set(active_tenants().filter(pk__in=wanted).values_list("pk", flat=True))
    if wanted - known:
        names = ", ".join(sorted(map(str, wanted - known))[:5])
        raise ServingError(f"There is no active tenant {names}.")
    if not (wanted or share or shadow):
        raise ServingError(
            "The trial's version would answer nobody: name tenants or a share of labels, or let it "
            "run in the shadow."
        )
    return {"trial_tenants": sorted(wanted), "trial_share": float(share), "shadow": shadow}


def _choose(
    last: ServingChoice | None,
    kind: ServingKind,
    live: dict[str, Any] | None,
    reason: str,
    actor: str,
    **trial: Any,
) -> ServingChoice:
    choice = ServingChoice.objects.create(
        number=last.number + 1 if last is not None else 1,
        kind=kind,
        live=live,
        reason=reason.strip()[:300],
        made_by=actor[:200],
        **trial,
    )
    record(
        action=f"serving.{kind}",
        actor=actor,
        target=_named(choice.trial if choice.trial is not None else live),
        detail={
            "number": choice.number,
            "live": _named(live),
            "until_then": _named(last.live if last is not None else None),
            "trial": choice.trial["version"] if choice.trial else "",
            "tenants": len(choice.trial_tenants),
            "share": choice.trial_share,
            "shadow": choice.shadow,
        },
    )
    transaction.on_commit(look_again)
    return choice


def _named(model: dict[str, Any] | None) -> str:
    return _OF_FILE if model is None else str(model["version"])
