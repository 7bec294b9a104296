"""Promotions that a person asks for on a page, and a worker carries out.

To check a data set's samples takes seconds, and a server takes its time to load an adapter: too
long for a page. The row is the request; it is ended in the transaction that promotes.
"""

import uuid
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from audit.services import record
from pillars import queue
from tenants.context import public_context
from training.errors import NothingToDoError, VersionError
from training.models import ModelVersion, PromotionRequest, RequestState, VersionState
from training.promotion import promote
from training.registry import RegistryError
from training.services import REASON_CHARS, locked

TASK: Final = "training.promote"
# Nobody is surprised by a promotion that they asked for long ago, when no worker ran.
IN_TIME: Final = timedelta(minutes=10)
UNTAKEN: Final = timedelta(seconds=15)
LATE: Final = (
    "No worker has carried it out within 10 minutes. See on the start page or at /health/ready "
    "whether one runs, then promote again."
)


@transaction.atomic
def request_promotion(*, version: ModelVersion, reason: str, actor: str) -> PromotionRequest:
    """Let a worker promote an approved version.

    Raises VersionError if it is not approved, or another promotion waits for a worker.
    """
    with public_context():
        found, now = locked(version), timezone.now()
        if found.state != VersionState.APPROVED:
            raise VersionError(f"{found} is {found.state}: only an approved version is promoted.")
        _end_late(now)
        try:
            with transaction.atomic():
                request = PromotionRequest.objects.create(
                    version=found, actor=actor, reason=reason.strip()[:REASON_CHARS], asked_at=now
                )
        except IntegrityError:  # one_waiting_promotion
            raise VersionError(
                "Another promotion is under way, or waits for a worker. Wait until it is done, "
                "then look again."
            ) from None
        record(action="model_version.promotion_requested", actor=actor, target=str(found))
    transaction.on_commit(lambda: _send(request.pk))
    return request


@transaction.atomic
def carry_out(*, request_id: uuid.UUID) -> PromotionRequest | None:
    """Promote what was asked for; None if that is done, or another worker does it.

    The row is held meanwhile: if this process is killed, it waits as before.
    """
    with public_context():
        request = _held(pk=request_id)
        if request is None:
            return None
        if request.asked_at < timezone.now() - IN_TIME:
            return _end(request, RequestState.REFUSED, LATE)
        try:
            promote(version=request.version, reason=request.reason, actor=request.actor)
        except NothingToDoError as error:
            return _end(request, RequestState.DONE, str(error))
        except RegistryError as error:
            return _end(request, RequestState.REFUSED, str(error))
        return _end(request, RequestState.DONE, "")


def last_request(version: ModelVersion) -> PromotionRequest | None:
    """The newest request for a version; one that nobody took in time says so."""
    found = version.requests.first()
    if found is not None and _is_late(found, timezone.now()):
        found.state, found.message, found.ended_at = RequestState.REFUSED, LATE, found.asked_at
    return found


def send_again() -> bool:
    """Send the message of a request that no worker has taken at once; whether there is one.

    A second message does no harm: the row is carried out once.
    """
    before = timezone.now() - UNTAKEN
    waiting = PromotionRequest.objects.filter(state=RequestState.WAITING, asked_at__lt=before)
    found = waiting.first()
    if found is not None:
        _send(found.pk)
    return found is not None


def _is_late(request: PromotionRequest, now: datetime) -> bool:
    return request.state == RequestState.WAITING and request.asked_at < now - IN_TIME


def _end_late(now: datetime) -> None:
    """Of a request that nobody took in time; one that a worker holds just now is left alone."""
    late = _held(asked_at__lt=now - IN_TIME)
    if late is not None:
        _end(late, RequestState.REFUSED, LATE)


def _held(**wanted: object) -> PromotionRequest | None:
    waiting = PromotionRequest.objects.filter(state=RequestState.WAITING, **wanted)
    return waiting.select_for_update(skip_locked=True).first()


def _end(request: PromotionRequest, state: RequestState, message: str) -> PromotionRequest:
    request.state, request.message, request.ended_at = state, message, timezone.now()
    request.save(update_fields=["state", "message", "ended_at"])
    return request


def _send(request_id: uuid.UUID) -> None:
    queue.dispatch(TASK, expires=IN_TIME.total_seconds(), request_id=str(request_id))
