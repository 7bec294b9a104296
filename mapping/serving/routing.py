"""Which version of the model answers a question."""

import hashlib
import hmac
import json
from collections.abc import Callable
from uuid import UUID

from django.utils.crypto import salted_hmac

from mapping.resolver.types import LabelQuestion
from mapping.serving.types import ServedModel, Serving

_SHARES = 1 << 64


def router(serving: Serving, tenant_id: UUID) -> Callable[[LabelQuestion], ServedModel | None]:
    """Gives the version that answers a question of a tenant; None: the one of pillars.yaml."""
    trial = serving.trial
    if trial is None or not serving.answers_somebody:
        return lambda _: serving.live
    if tenant_id in serving.trial_tenants:
        return lambda _: trial
    return lambda one: trial if share_of(one, trial.version) < serving.trial_share else serving.live


def share_of(question: LabelQuestion, version: str) -> float:
    """Where a label stands between 0 and 1: for every tenant, process and day at the same place.

    Keyed, so that nobody can choose a label that the trial answers. A trial of another version
    draws other labels. The description plays no part: a label does not change sides by it.
    """
    content = json.dumps([version, question.detector, question.detector_version, question.label])
    digest = hmac.digest(_key(), content.encode(), hashlib.sha256)
    return int.from_bytes(digest[:8], "big") / _SHARES


def _key() -> bytes:
    return salted_hmac("mapping.serving", "arms", algorithm="sha256").digest()
