"""Publishing a change set as a release, and taking it back."""

from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from access.users.models import User
from taxonomy import loading
from taxonomy.changes.errors import ChangeError, InvalidChangeSetError, StaleChangeSetError
from taxonomy.changes.models import ChangeSet, Publication, State, Verb
from taxonomy.changes.selectors import candidate_of, due
from taxonomy.changes.services import actor_of, log, require_fresh, return_to_draft, step
from taxonomy.documents import digest
from taxonomy.editing import Candidate, candidate, release_candidate
from taxonomy.errors import KnowledgeFileError
from taxonomy.objects import Difference, StaleEditError, apply
from taxonomy.selectors import current_documents, current_release
from tenants.context import public_context

log_line = structlog.get_logger("taxonomy.changes")
SCHEDULE = "system:schedule"


def publish(*, number: int, person: User, revision: int) -> Publication:
    """Put an approved change set in force now. Raises ChangeError and its kinds."""
    return _publish(number=number, actor=actor_of(person), revision=revision)


def publish_due(*, now: datetime | None = None) -> list[int]:
    """Publish what is approved for a time that has come; the numbers of those published.

    One that can no longer be published goes back to its author, with the reason. None holds up
    the others.
    """
    with public_context():
        waiting = list(due(now or timezone.now()).values_list("number", "revision"))
    published = []
    for number, revision in waiting:
        try:
            _publish(number=number, actor=SCHEDULE, revision=revision)
            published.append(number)
        except (StaleChangeSetError, InvalidChangeSetError) as error:
            _give_back(number, revision, str(error))
        except ChangeError:  # somebody else was faster
            log_line.warning("change_set_not_published", number=number, exc_info=True)
        except Exception:  # a fault of ours: it is tried again, and the others are published
            log_line.error("change_set_not_published", number=number, exc_info=True)
    return published


def _give_back(number: int, revision: int, why: str) -> None:
    try:
        with step(
            number=number, actor=SCHEDULE, revision=revision, states=(State.APPROVED,)
        ) as change_set:
            return_to_draft(
                change_set, SCHEDULE, f"It could not be published at its time. {why}"[:2_000]
            )
    except ChangeError:  # somebody else was faster
        log_line.warning("change_set_not_given_back", number=number, exc_info=True)


def _publish(*, number: int, actor: str, revision: int) -> Publication:
    with public_context(), transaction.atomic():
        loading.lock()  # before the row: everybody takes the two in this order
        with step(
            number=number, actor=actor, revision=revision, states=(State.APPROVED,)
        ) as change_set:
            require_fresh(change_set)
            publication = _release(change_set, candidate_of(change_set), Verb.PUBLISHED, actor)
            change_set.state = State.PUBLISHED
            change_set.save()
            log(change_set, Verb.PUBLISHED, actor, f"Release {publication.release.serial}")
    return publication


def roll_back(*, number: int, person: User, reason: str, revision: int) -> Publication:
    """Take a published change set back with a new release, as it was before, in force at once.

    Later change sets stay. Raises StaleChangeSetError if a later one changed the same things.
    """
    if not reason.strip():
        raise ChangeError("Say why: the author and the auditors read it.")
    actor = actor_of(person)
    with public_context(), transaction.atomic():
        loading.lock()
        with step(
            number=number, actor=actor, revision=revision, states=(State.PUBLISHED,)
        ) as change_set:
            found = _before(change_set)
            publication = _release(change_set, found, Verb.ROLLED_BACK, actor, reason.strip())
            change_set.state = State.ROLLED_BACK
            change_set.save()
            log(change_set, Verb.ROLLED_BACK, actor, reason.strip())
    return publication


def _before(change_set: ChangeSet) -> Candidate:
    """What is in force, without the change set."""
    base = current_release()
    assert base is not None  # noqa: S101 - something was published
    inverse = [
        Difference(found.key, before=found.after, after=found.before)
        for found in change_set.edits.all()
    ]
    try:
        edited = apply(current_documents(), inverse)
    except StaleEditError as error:
        named = ", ".join(map(str, error.keys))
        raise StaleChangeSetError(
            f"Changed again since: {named}. Roll the later change set back first, or draft a new "
            "one."
        ) from None
    return candidate(edited, base=base)


def _release(
    change_set: ChangeSet, found: Candidate, verb: Verb, actor: str, note: str = ""
) -> Publication:
    try:
        release = release_candidate(found, actor=f"change_set:{change_set.number}")
    except KnowledgeFileError as error:
        raise InvalidChangeSetError(error.problems) from None
    manifest = _manifest(change_set, found, verb, actor, note)
    manifest["release"] = {"serial": release.serial, "sha256": release.sha256}
    manifest["editions"] = [
        {"edition": str(row), "kind": row._meta.verbose_name, "sha256": row.sha256}
        for row in loading.editions_of(release)
    ]
    return Publication.objects.create(
        change_set=change_set,
        verb=verb,
        release=release,
        manifest=manifest,
        sha256=digest(manifest),
        published_by=actor,
    )


def _manifest(
    change_set: ChangeSet, found: Candidate, verb: Verb, actor: str, note: str
) -> dict[str, Any]:
    """All that an auditor needs to follow a release back to the people who decided it."""
    approvals = change_set.approvals.filter(revision=change_set.revision)
    return {
        "format": 1,
        "change_set": change_set.number,
        "title": change_set.title,
        "reason": change_set.reason,
        "verb": str(verb),
        "note": note,
        "author": actor_of(change_set.author),
        "approvals": [
            {"by": actor_of(one.approver), "at": one.at.isoformat()} for one in approvals
        ],
        "by": actor,
        "at": timezone.now().isoformat(),
        "replaces": {"serial": found.base.serial, "sha256": found.base.sha256},
        "new": [file.name for file in found.fresh],
        "edits": [
            {
                "kind": edit.kind,
                "document": edit.document,
                "name": edit.name,
                "before": edit.before,
                "after": edit.after,
            }
            for edit in change_set.edits.all()
        ],
    }


def manifest_is_intact(publication: Publication) -> bool:
    """Whether a manifest still has the digest that was written with it."""
    return digest(publication.manifest) == publication.sha256
