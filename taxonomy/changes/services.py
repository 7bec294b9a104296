"""Verbs on change sets: draft, submit, comment, send back, approve, withdraw.

Publishing is in taxonomy.changes.publishing. Every verb writes the conversation, the audit trail
and the e-mails in one transaction.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pghistory
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from access.users.models import User
from audit.services import record
from pillars import queue
from taxonomy.changes.errors import ChangeError, InvalidChangeSetError, StaleChangeSetError
from taxonomy.changes.models import Approval, ChangeSet, Edit, Entry, State, Verb
from taxonomy.changes.notices import write_notices
from taxonomy.changes.selectors import (
    candidate_of,
    open_change_sets_of,
    stale_keys,
    wrote_in,
)
from taxonomy.editing import problems_of
from taxonomy.objects import ObjectKey, ObjectKind, objects
from taxonomy.selectors import current_documents
from tenants.context import public_context


def actor_of(person: User) -> str:
    """Whom the audit trail names."""
    return f"user:{person.get_username()}"


@contextmanager
def step(
    *, number: int, actor: str, revision: int | None, states: tuple[State, ...] = ()
) -> Iterator[ChangeSet]:
    """Lock a change set for one step, with its history naming the actor.

    `revision`: what the person saw. Raises StaleChangeSetError if it has changed since, and
    ChangeError if it does not stand in one of `states`.
    """
    with public_context(), transaction.atomic(), pghistory.context(actor=actor):
        change_set = ChangeSet.objects.select_for_update().filter(number=number).first()
        if change_set is None:
            raise ChangeError(f"There is no change set #{number}.")
        if revision is not None and change_set.revision != revision:
            raise StaleChangeSetError(
                f"Change set #{number} has been changed since you opened it (revision {revision}, "
                f"now {change_set.revision}). Nothing was done: look at it again."
            )
        if states and change_set.state not in states:
            raise ChangeError(
                f"Change set #{number} is {change_set.get_state_display().lower()}: this is for "
                f"one that is {' or '.join(State(s).label.lower() for s in states)}."
            )
        yield change_set


def start(*, title: str, reason: str, author: User) -> ChangeSet:
    """Start an empty draft."""
    actor = actor_of(author)
    with public_context(), transaction.atomic(), pghistory.context(actor=actor):
        change_set = ChangeSet.objects.create(
            title=_line(title), reason=reason, author=author, written_by=author
        )
        log(change_set, Verb.CREATED, actor)
    return change_set


def describe(
    *,
    number: int,
    title: str,
    reason: str,
    effective_at: datetime | None,
    editor: User,
    revision: int,
) -> ChangeSet:
    """Change what a draft says of itself, and when it is to be published."""
    with step(
        number=number, actor=actor_of(editor), revision=revision, states=(State.DRAFT,)
    ) as change_set:
        change_set.title, change_set.reason = _line(title), reason
        change_set.effective_at = effective_at
        _written(change_set, editor)
    return change_set


def _line(title: str) -> str:
    """In one line: it goes into the subject of e-mails."""
    return " ".join(title.split())


def _written(change_set: ChangeSet, editor: User) -> None:
    """Its content has changed: a new revision, and the person has a part in it."""
    change_set.revision += 1
    change_set.written_by = editor
    change_set.save()


def edit(
    *,
    number: int,
    key: ObjectKey,
    after: dict[str, Any] | None,
    editor: User,
    revision: int | None = None,
) -> Edit:
    """Put one edit into a draft, or change it there. `after` None: the thing is to go."""
    return edit_many(number=number, wanted={key: after}, editor=editor, revision=revision)[0]


def edit_many(
    *,
    number: int,
    wanted: dict[ObjectKey, dict[str, Any] | None],
    editor: User,
    revision: int | None = None,
) -> list[Edit]:
    """Put edits into a draft: all or none.

    Raises ChangeError where a thing stands in another open change set, or would not change.
    """
    with step(
        number=number, actor=actor_of(editor), revision=revision, states=(State.DRAFT,)
    ) as change_set:
        now = objects(current_documents())
        wanted = _whole(wanted, now)
        for key, after in wanted.items():
            _refuse_idle(key, now.get(key), after)
        _refuse_held(change_set, wanted)
        made = _write(change_set, wanted, now, editor)
        _written(change_set, editor)
    return made


def _whole(
    wanted: dict[ObjectKey, dict[str, Any] | None], now: dict[ObjectKey, dict[str, Any]]
) -> dict[ObjectKey, dict[str, Any] | None]:
    """With a detector that goes, all of its labels: so that a rollback brings them back."""
    gone = {key.document for key, after in wanted.items() if key.kind == "detector" and not after}
    labels = (key for key in now if key.kind == "detector_label" and key.document in gone)
    return {**wanted, **dict.fromkeys(labels)}


def _refuse_idle(
    key: ObjectKey, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> None:
    if key.kind == ObjectKind.FRAMEWORK:
        raise ChangeError(f"{key}: controls come from their publisher. Load a new file instead.")
    if before == after:
        raise ChangeError(f"{key} would not change. Change something, or leave it out.")


def _refuse_held(change_set: ChangeSet, keys: Iterable[ObjectKey]) -> None:
    """Raises ChangeError if one of the things stands in another open change set."""
    holders = open_change_sets_of(keys)
    for key, holder in holders.items():
        if holder.number != change_set.number:
            raise ChangeError(_held(key, holder))


def _write(
    change_set: ChangeSet,
    wanted: dict[ObjectKey, dict[str, Any] | None],
    now: dict[ObjectKey, dict[str, Any]],
    editor: User,
) -> list[Edit]:
    """The edits, in few statements: a new detector may bring a thousand labels."""
    there = {found.key: found for found in change_set.edits.all()}
    made = []
    for key, after in wanted.items():
        found = there.get(key) or Edit(
            change_set=change_set, kind=key.kind, document=key.document, name=key.name
        )
        found.before, found.after, found.edited_by = now.get(key), after, editor
        made.append(found)
    try:
        with transaction.atomic():  # two people at once: the database decides
            Edit.objects.bulk_create([found for found in made if found.key not in there])
    except IntegrityError:
        _refuse_held(change_set, wanted)
        raise
    for found in made:
        if found.key in there:
            found.save()
    return made


def _held(key: ObjectKey, holder: ChangeSet) -> str:
    return (
        f"{key} stands in the open change set #{holder.number} of "
        f"{holder.author.get_username()} ({holder.get_state_display().lower()}). One open change "
        "set a thing: wait until it is published or withdrawn, or add to it."
    )


def drop_edit(*, number: int, edit_id: Any, editor: User, revision: int) -> None:
    """Take an edit out of a draft."""
    with step(
        number=number, actor=actor_of(editor), revision=revision, states=(State.DRAFT,)
    ) as change_set:
        found = change_set.edits.filter(pk=edit_id).first()
        if found is None:
            raise ChangeError("That edit is not in this change set any more.")
        found.delete()
        _written(change_set, editor)


def refresh(*, number: int, editor: User, revision: int) -> list[ObjectKey]:
    """Take a stale draft up to the knowledge in force; what is wanted stays as it is.

    Returns the things that were stale. Edits that are true already go; with a detector that goes,
    labels that it got meanwhile go too.
    """
    with step(
        number=number, actor=actor_of(editor), revision=revision, states=(State.DRAFT,)
    ) as change_set:
        now = objects(current_documents())
        stale = stale_keys(change_set)
        edits = {found.key: found for found in change_set.edits.all()}
        for key in edits.keys() & set(stale):
            found = edits[key]
            if now.get(key) == found.after:
                found.delete()
            else:
                found.before, found.edited_by = now.get(key), editor
                found.save()
        further: dict[ObjectKey, dict[str, Any] | None] = {
            key: None for key in stale if key not in edits
        }
        _refuse_held(change_set, further)
        _write(change_set, further, now, editor)
        _written(change_set, editor)
    return stale


def submit(*, number: int, editor: User, revision: int) -> ChangeSet:
    """Ask for approval. Raises InvalidChangeSetError, StaleChangeSetError, ChangeError."""
    with step(
        number=number, actor=actor_of(editor), revision=revision, states=(State.DRAFT,)
    ) as change_set:
        require_sound(change_set)
        change_set.state = State.SUBMITTED
        change_set.submitted_at = timezone.now()
        change_set.written_by = editor
        change_set.approvals_required = approvals_for(change_set)
        change_set.save()
        log(change_set, Verb.SUBMITTED, actor_of(editor))
        transaction.on_commit(lambda: queue.dispatch("changes.count_impact", number=number))
    return change_set


def approvals_for(change_set: ChangeSet) -> int:
    """As many approvers as the kind of its edits that wants most."""
    wanted = settings.CONFIG.governance
    by_kind = {
        ObjectKind.LABEL: wanted.taxonomy_approvals,
        ObjectKind.DETECTOR: wanted.detector_approvals,
        ObjectKind.DETECTOR_LABEL: wanted.detector_approvals,
        ObjectKind.CROSSWALK_ROW: wanted.crosswalk_approvals,
    }
    return max((by_kind[found.key.kind] for found in change_set.edits.all()), default=1)


def require_sound(change_set: ChangeSet) -> None:
    """Raises if the change set cannot be published as it is: empty, stale or against a rule."""
    if not change_set.edits.exists():
        raise ChangeError("The change set is empty. Add an edit first.")
    require_fresh(change_set)
    problems = problems_of(candidate_of(change_set))
    if problems:
        raise InvalidChangeSetError(problems)


def require_fresh(change_set: ChangeSet) -> None:
    """Raises StaleChangeSetError if what it changes is not in force as it was found."""
    stale = stale_keys(change_set)
    if stale:
        named = ", ".join(map(str, stale))
        raise StaleChangeSetError(
            f"Changed in force since this was drafted: {named}. Bring the draft up to date, and "
            "look at what it does now. Take out edits of a detector or framework that is gone."
        )


def comment(*, number: int, text: str, person: User) -> Entry:
    """Say something about a change set, in whatever state."""
    if not text.strip():
        raise ChangeError("Write something first.")
    with step(number=number, actor=actor_of(person), revision=None) as change_set:
        return log(change_set, Verb.COMMENTED, actor_of(person), text.strip())


def send_back(*, number: int, text: str, person: User, revision: int) -> ChangeSet:
    """Return it to its author as a draft, with the reason; approvals given are void."""
    if not text.strip():
        raise ChangeError("Say what is to be changed: the author reads it.")
    with step(
        number=number, actor=actor_of(person), revision=revision,
        states=(State.SUBMITTED, State.APPROVED),
    ) as change_set:  # fmt: skip
        return_to_draft(change_set, actor_of(person), text.strip())
    return change_set


def return_to_draft(change_set: ChangeSet, actor: str, text: str) -> None:
    """Make it a draft again; a new revision, so that earlier approvals do not count for it."""
    change_set.state = State.DRAFT
    change_set.submitted_at = None
    change_set.revision += 1
    change_set.save()
    log(change_set, Verb.SENT_BACK, actor, text)


def approve(*, number: int, text: str = "", approver: User, revision: int) -> ChangeSet:
    """Say yes to the revision that the person saw. The last approval needed makes it approved.

    Raises ChangeError for the author and everybody who edited it, StaleChangeSetError.
    """
    with step(
        number=number, actor=actor_of(approver), revision=revision, states=(State.SUBMITTED,)
    ) as change_set:
        if wrote_in(change_set, approver):
            raise ChangeError(
                "You wrote in this change set, so somebody else has to approve it. Ask a colleague "
                "who may approve."
            )
        if change_set.approvals.filter(revision=revision, approver=approver).exists():
            raise ChangeError("You have approved this revision already. Another person is needed.")
        require_fresh(change_set)
        Approval.objects.create(change_set=change_set, revision=revision, approver=approver)
        given = change_set.approvals.filter(revision=revision).count()
        if given >= change_set.approvals_required:
            change_set.state = State.APPROVED
            change_set.save()
        log(change_set, Verb.APPROVED, actor_of(approver), text.strip())
    return change_set


def withdraw(*, number: int, person: User, revision: int) -> ChangeSet:
    """Give it up. Its things are free for other change sets."""
    with step(
        number=number, actor=actor_of(person), revision=revision,
        states=(State.DRAFT, State.SUBMITTED, State.APPROVED),
    ) as change_set:  # fmt: skip
        change_set.state = State.WITHDRAWN
        change_set.save()
        log(change_set, Verb.WITHDRAWN, actor_of(person))
    return change_set


def log(change_set: ChangeSet, verb: Verb, actor: str, text: str = "") -> Entry:
    """Write a step down: in the conversation, in the audit trail, and to whom it concerns."""
    entry = Entry.objects.create(
        change_set=change_set, verb=verb, actor=actor, revision=change_set.revision, text=text
    )
    detail = {"title": change_set.title, "revision": change_set.revision}
    if verb == Verb.SUBMITTED:
        detail["edits"] = [str(found) for found in change_set.edits.all()]
    record(action=f"change_set.{verb}", actor=actor, target=str(change_set.number), detail=detail)
    write_notices(change_set, entry)
    return entry
