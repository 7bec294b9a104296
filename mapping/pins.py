"""Verbs on a tenant's choice of a release: pin, apply another, follow the newest, undo.

Each verb takes the serial that the person saw in force. If another one is in force by now, what
they saw is stale, and the verb refuses: nobody applies a difference that they have not seen.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from audit.services import record
from mapping.engine import KnowledgeError
from mapping.knowledge import compile_documents
from mapping.models import KnowledgePin, PinKind
from mapping.selectors import look_again
from taxonomy.errors import NoReleaseError
from taxonomy.models import KnowledgeRelease
from taxonomy.selectors import current_serial, documents_of
from tenants.context import require_tenant


class PinError(ValueError):
    """A choice that cannot be made. Its text says what to do."""


class StalePreviewError(PinError):
    """Another release is in force than the one that the person saw."""


@dataclass(frozen=True, slots=True)
class TenantKnowledge:
    """What the active tenant works with. `last`: its last choice, if it ever made one."""

    effective: int
    newest: int
    last: KnowledgePin | None

    @property
    def pinned(self) -> bool:
        """Whether a release was chosen; otherwise the newest is followed."""
        return self.last is not None and self.last.release is not None

    @property
    def undo_until(self) -> datetime | None:
        """Until when the last choice can be undone; None if there is none or it is too late."""
        until = self.last.undo_until if self.last is not None else None
        return until if until is not None and until > timezone.now() else None

    @property
    def undo_follows(self) -> bool:
        """Whether undoing the last choice lets the tenant follow the newest release again."""
        return self.last is not None and self.last.followed and self.last.previous == self.newest


def tenant_knowledge() -> TenantKnowledge:
    """What the active tenant works with, from the database. Raises NoReleaseError."""
    require_tenant()
    newest = current_serial()
    if newest is None:
        raise NoReleaseError("No knowledge is loaded. Run `manage.py load_config`.")
    last = KnowledgePin.objects.order_by("-number").first()
    pinned = last.release if last is not None else None
    return TenantKnowledge(newest if pinned is None else pinned, newest, last)


@transaction.atomic
def pin_release(*, serial: int, actor: str, note: str = "") -> KnowledgePin:
    """Stay with the release in force, whichever comes after it. Raises PinError."""
    now = _locked(seen=serial)
    if now.pinned:
        raise PinError(f"Release {serial} is pinned already. There is nothing to do.")
    return _choose(now, PinKind.PIN, serial, actor, note)


@transaction.atomic
def apply_release(*, serial: int, seen: int, actor: str, note: str = "") -> KnowledgePin:
    """Pin another release than the one in force, which was `seen` in the preview.

    Raises PinError: stale preview, no such release, one that this version cannot use, or no change.
    """
    now = _locked(seen=seen)
    if serial == now.effective:
        raise PinError(
            f"Release {serial} is in force already. Choose another one, or pin it to keep it."
        )
    _check_usable(serial)
    return _choose(now, PinKind.APPLY, serial, actor, note)


@transaction.atomic
def follow_newest(*, seen: int, newest: int, actor: str, note: str = "") -> KnowledgePin:
    """Work with the newest release from now on, whichever that is.

    `seen`, `newest`: serials in force and newest in the preview. Raises PinError.
    """
    now = _locked(seen=seen)
    if not now.pinned:
        raise PinError("The newest release is followed already. There is nothing to do.")
    if now.newest != newest:
        raise StalePreviewError(
            f"Release {now.newest} has come since you looked. Look at its difference first."
        )
    _check_usable(newest)
    return _choose(now, PinKind.FOLLOW, None, actor, note)


@transaction.atomic
def undo_last(*, seen: int, actor: str, note: str = "") -> KnowledgePin:
    """Go back to the release that was in force before the last choice, within `undo_hours`.

    A tenant that followed the newest follows it again if it is still the same release; otherwise
    that release is pinned, so that nothing comes into force that nobody has seen. Raises PinError.
    """
    now = _locked(seen=seen)
    last = now.last
    if last is None or last.undo_until is None:
        raise PinError(
            "There is no choice that could be undone. Preview the release that you want instead."
        )
    if now.undo_until is None:
        raise PinError(
            f"The last choice could be undone until {last.undo_until:%Y-%m-%d %H:%M} UTC. "
            f"Preview and apply release {last.previous} instead."
        )
    follow = now.undo_follows
    if last.previous == now.effective and follow != now.pinned:
        raise PinError(
            f"Undoing would change nothing: release {last.previous} is in force as before. "
            "Follow the newest release, or apply another one."
        )
    _check_usable(last.previous)
    return _choose(now, PinKind.UNDO, None if follow else last.previous, actor, note)


def _locked(*, seen: int) -> TenantKnowledge:
    """What is in force, held until the transaction ends. Raises StalePreviewError."""
    require_tenant()
    with connection.cursor() as cursor:  # one choice at a time; reading goes on
        cursor.execute(f"LOCK TABLE {KnowledgePin._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    now = tenant_knowledge()
    if now.effective != seen:
        raise StalePreviewError(
            f"Release {now.effective} is in force by now, not {seen} as when you looked. "
            "Look again and decide anew."
        )
    return now


def _check_usable(serial: int) -> None:
    try:
        compile_documents(documents_of(serial))
    except NoReleaseError:
        raise PinError(
            f"There is no release {serial}. Choose one of the list of releases."
        ) from None
    except KnowledgeError as error:
        raise PinError(
            f"Release {serial} cannot be used by this version of Pillars ({error}). Choose another."
        ) from None


def _choose(
    now: TenantKnowledge, kind: PinKind, serial: int | None, actor: str, note: str
) -> KnowledgePin:
    window = timedelta(hours=settings.CONFIG.knowledge.undo_hours)
    choice = KnowledgePin.objects.create(
        number=now.last.number + 1 if now.last is not None else 1,
        kind=kind,
        release=serial,
        effective=now.newest if serial is None else serial,
        previous=now.effective,
        followed=not now.pinned,
        made_by=actor[:200],
        note=note.strip()[:300],
        undo_until=None if kind == PinKind.UNDO else timezone.now() + window,
    )
    record(
        action=f"knowledge.{_ACTIONS[kind]}",
        actor=actor,
        target=f"release {choice.effective}",
        detail={"number": choice.number, "from": choice.previous, "pinned": serial is not None},
    )
    schema = require_tenant()
    transaction.on_commit(lambda: look_again(schema))
    return choice


_ACTIONS = {
    PinKind.PIN: "pinned",
    PinKind.APPLY: "applied",
    PinKind.FOLLOW: "followed",
    PinKind.UNDO: "undone",
}


def releases_to_choose(limit: int = 20) -> list[KnowledgeRelease]:
    """The newest releases, newest first."""
    return list(KnowledgeRelease.objects.select_related("taxonomy").order_by("-serial")[:limit])
