"""E-mails about change sets: written with the step, sent by a worker, sent again if that fails."""

from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from access.users.models import User
from pillars import queue
from taxonomy.changes.models import ChangeSet, Entry, Notice, Verb
from taxonomy.changes.selectors import wrote_in
from tenants.context import public_context

MAX_ATTEMPTS = 10
_SILENT = {Verb.CREATED}
_ASKS_APPROVERS = {Verb.SUBMITTED}


def write_notices(change_set: ChangeSet, entry: Entry) -> None:
    """Tell whom a step concerns: approvers of what is submitted, else author and participants."""
    if entry.verb in _SILENT:
        return
    people = _approvers(change_set) if entry.verb in _ASKS_APPROVERS else _participants(change_set)
    doer = entry.who
    notices = [
        Notice(
            change_set=change_set,
            recipient=person,
            subject=f"[Pillars] #{change_set.number} {change_set.title}: "
            f"{doer} {entry.get_verb_display()}"[:200],
            body=_body(change_set, entry, doer),
        )
        for person in people
        if person.get_username() != doer
    ]
    if notices:
        Notice.objects.bulk_create(notices)
        transaction.on_commit(lambda: queue.dispatch("changes.send_notices"))


def _approvers(change_set: ChangeSet) -> list[User]:
    """Everybody who may approve it and can be reached."""
    people = User.objects.with_perm("changes.approve_changeset").filter(is_staff=True)
    return [person for person in people.exclude(email="") if not wrote_in(change_set, person)]


def _participants(change_set: ChangeSet) -> list[User]:
    """The author, and whoever has said or decided something."""
    names = {
        actor.removeprefix("user:")
        for actor in change_set.entries.values_list("actor", flat=True)
        if actor.startswith("user:")
    }
    wanted = Q(username__in=names) | Q(pk=change_set.author_id)
    return list(User.objects.filter(wanted, is_active=True).exclude(email=""))


def _body(change_set: ChangeSet, entry: Entry, doer: str) -> str:
    lines = [f"{doer} {entry.get_verb_display()}: change set #{change_set.number}, "
             f"{change_set.title}.", ""]  # fmt: skip
    if entry.text:
        lines += [entry.text, ""]
    if entry.verb == Verb.SUBMITTED:
        lines += [change_set.reason, "", f"It has {change_set.edits.count()} edits."]
    lines += [f"Look at it: {address(change_set)}"]
    return "\n".join(lines)


def address(change_set: ChangeSet) -> str:
    """Where a person opens it. E-mails are written by workers too, so no request is at hand."""
    server = settings.CONFIG.server
    scheme, host = "https" if server.https else "http", server.platform_hosts[0]
    port = "" if server.https else f":{server.port}"
    return f"{scheme}://{host}{port}/admin/changes/changeset/{change_set.number}/change/"


def send_notices() -> int:
    """Send what waits; how many went out. One that fails is tried again at the next call."""
    sent = 0
    with public_context():
        waiting = Notice.objects.filter(sent_at=None, attempts__lt=MAX_ATTEMPTS)
        for pk in list(waiting.values_list("pk", flat=True)[:500]):
            sent += _send(pk)
    return sent


def _send(pk: UUID) -> bool:
    with transaction.atomic():
        notice = (
            Notice.objects.select_for_update(skip_locked=True).filter(pk=pk, sent_at=None).first()
        )
        if notice is None:  # another worker has it
            return False
        notice.attempts += 1
        try:
            send_mail(notice.subject, notice.body, None, [notice.recipient.email])
        except OSError as error:  # smtplib's errors are OSErrors too
            notice.error = f"{type(error).__name__}: the mail server did not take it"
        except ValueError as error:  # a header of two lines, or an address that is none
            notice.error = f"{type(error).__name__}: correct the person's address or the title"
        else:
            notice.sent_at, notice.error = timezone.now(), ""
        notice.save()
    return notice.sent_at is not None
