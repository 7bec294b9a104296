"""Writes the counters of key use into the tenant's schema."""

import uuid
from collections.abc import Iterable
from datetime import date

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from access.usage.models import KeyUse


@transaction.atomic
def add_use(*, rows: Iterable[tuple[uuid.UUID, date, int, int]]) -> None:
    """Add (key id, day, requests, items) to the counters. Runs in the tenant that is active."""
    now = timezone.now()
    for key_id, day, requests, items in rows:
        use, _ = KeyUse.objects.get_or_create(
            key_id=key_id, day=day, defaults={"last_used_at": now}
        )
        KeyUse.objects.filter(pk=use.pk).update(
            requests=F("requests") + requests, items=F("items") + items, last_used_at=now
        )
