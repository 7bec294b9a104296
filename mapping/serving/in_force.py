"""Which version of the model answers whom now: cheap enough to ask for each request.

Read like the mapping mode (see mapping.watching): a choice reaches every process within two
seconds, without the broker.
"""

import structlog
from django.conf import settings

from mapping.serving.models import ServingChoice
from mapping.serving.types import ServedModel, Serving
from mapping.versions import Served
from mapping.watching import Watch
from pillars.observability import metrics
from tenants.context import public_context

log = structlog.get_logger("mapping.serving")
_OF_FILE = "pillars.yaml"


def serving_in_force() -> Serving:
    """What is in force, at most two seconds old. One request asks once, and stays with it.

    Raises DatabaseError if this process has never been able to read the choices.
    """
    return _watch.in_force()


def read_serving() -> Serving:
    """What is in force now, from the database. For pages and commands."""
    with public_context():
        choice = ServingChoice.objects.order_by("-number").first()
    return Serving() if choice is None else serving_of(choice)


def serving_of(choice: ServingChoice) -> Serving:
    """What a choice says."""
    return Serving(
        number=choice.number,
        live=ServedModel.read(choice.live) if choice.live else None,
        trial=ServedModel.read(choice.trial) if choice.trial else None,
        trial_tenants=frozenset(choice.trial_tenants),
        trial_share=choice.trial_share,
        shadow=choice.shadow,
        since=choice.made_at,
        by=choice.made_by,
        reason=choice.reason,
    )


def live_name(serving: Serving) -> str:
    """The live version's name; for that of pillars.yaml its adapter, or the base model."""
    if serving.live is not None:
        return serving.live.version
    section = settings.CONFIG.inference
    return "" if section.backend == "none" else section.adapter or section.model


def _trial_name(serving: Serving) -> str:
    return serving.trial.version if serving.trial is not None else ""


def served_versions(serving: Serving) -> Served:
    """The versions by their part, to be shown."""
    trial = serving.trial
    return Served(
        live=live_name(serving) or None,
        trial=trial.version if trial is not None and serving.answers_somebody else None,
        shadow=trial.version if trial is not None and serving.shadow else None,
    )


def _take(before: Serving | None, found: Serving) -> None:
    for serving, shown in ((before, 0), (found, 1)):
        if serving is None:
            continue
        for role, version in (("live", live_name(serving)), ("trial", _trial_name(serving))):
            if version:
                metrics.SERVED_MODEL.labels(role, version).set(shown)
    if before is not None and before.number != found.number:
        log.warning("serving_changed", serial=found.number, version=live_name(found) or _OF_FILE)


def _new_watch() -> Watch[Serving]:
    return Watch(read_serving, _take)


_watch = _new_watch()


def look_again() -> None:
    """Let this process see a new choice at its next request."""
    _watch.look_again()


def forget_serving() -> None:
    """Forget what this process has read (for tests, which undo choices behind its back)."""
    global _watch
    _watch = _new_watch()
