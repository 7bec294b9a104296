"""What no way around the services can do: bulk updates and raw SQL as the application's role."""

from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction

from taxonomy.changes.models import Approval, ChangeSet, Edit, State

pytestmark = pytest.mark.django_db


def refused(statement: str, *values: Any) -> str:
    """Run SQL that must fail; the database's words."""
    with (
        pytest.raises(DatabaseError) as found,
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)
    return str(found.value)


APPROVE = """INSERT INTO changes_approval (id, change_set_id, revision, approver_id, at)
             VALUES (gen_random_uuid(), %s, %s, %s, now())"""


def test_the_authors_own_approval(submitted: Any, alice: Any) -> None:
    said = refused(APPROVE, submitted.number, submitted.revision, alice.pk)
    assert "nobody approves a change set that they wrote in" in said


def test_an_approval_of_another_revision_or_of_a_draft(
    submitted: Any, bob: Any, draft: Any
) -> None:
    said = refused(APPROVE, submitted.number, submitted.revision - 1, bob.pk)
    assert "is at revision" in said


def test_a_state_without_approvals(submitted: Any) -> None:
    said = refused(
        "UPDATE changes_changeset SET state = 'approved' WHERE number = %s", submitted.number
    )
    assert "has 0 of 1 approvals" in said
    said = refused(
        "UPDATE changes_changeset SET state = 'published' WHERE number = %s", submitted.number
    )
    assert "does not go from submitted to published" in said


def test_a_publication_without_a_release(approved: Any) -> None:
    said = refused(
        "UPDATE changes_changeset SET state = 'published' WHERE number = %s", approved.number
    )
    assert "has no release" in said


def test_fewer_approvals(submitted: Any) -> None:
    said = refused(
        "UPDATE changes_changeset SET approvals_required = 0 WHERE number = %s", submitted.number
    )
    assert "send it back before it is changed" in said


def test_another_author(submitted: Any, bob: Any) -> None:
    said = refused(
        "UPDATE changes_changeset SET author_id = %s WHERE number = %s", bob.pk, submitted.number
    )
    assert "author" in said


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE changes_edit SET after = '{}' WHERE change_set_id = %s",
        "UPDATE changes_edit SET edited_by_id = edited_by_id + 1 WHERE change_set_id = %s",
        "DELETE FROM changes_edit WHERE change_set_id = %s",
        "UPDATE changes_edit SET open = false WHERE change_set_id = %s",
        "UPDATE changes_changeset SET title = 'x' WHERE number = %s",
        "UPDATE changes_changeset SET revision = revision + 1 WHERE number = %s",
        "DELETE FROM changes_changeset WHERE number = %s",
        "DELETE FROM changes_entry WHERE change_set_id = %s",
    ],
)
def test_submitted_content(submitted: Any, statement: str) -> None:
    assert refused(statement, submitted.number)


@pytest.mark.parametrize(
    "table",
    ["changes_changeset", "changes_edit", "changes_approval", "changes_entry",
     "changes_publication"],
)  # fmt: skip
def test_emptying_a_table(table: str) -> None:
    assert "cannot be removed" in refused(f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize("table", ["changes_changesetevent", "changes_editevent"])
def test_the_history_itself(submitted: Any, table: str) -> None:
    assert refused(f"DELETE FROM {table}")
    assert refused(f"UPDATE {table} SET pgh_label = 'x'")
    assert "cannot be removed" in refused(f"TRUNCATE {table}")


def test_old_approvals_of_new_content(approved: Any) -> None:
    """Back to a draft by SQL, changed, and submitted again: it wants its approvals anew."""
    with connection.cursor() as cursor:
        for statement in (
            "UPDATE changes_changeset SET state = 'draft' WHERE number = %s",
            'UPDATE changes_edit SET after = \'{"canonical": "PII.Other"}\' '
            "WHERE change_set_id = %s",
            "UPDATE changes_changeset SET state = 'submitted' WHERE number = %s",
        ):
            cursor.execute(statement, [approved.number])
    said = refused(
        "UPDATE changes_changeset SET state = 'approved' WHERE number = %s", approved.number
    )
    assert "has 0 of 1 approvals" in said


def test_an_approval_by_whoever_wrote_in_the_draft(draft: Any, bob: Any, alice: Any) -> None:
    with connection.cursor() as cursor:
        for person in (bob, alice):
            cursor.execute(
                "UPDATE changes_changeset SET written_by_id = %s WHERE number = %s",
                [person.pk, draft.number],
            )
        cursor.execute(
            "UPDATE changes_changeset SET state = 'submitted' WHERE number = %s", [draft.number]
        )
    said = refused(APPROVE, draft.number, draft.revision, bob.pk)
    assert "nobody approves a change set that they wrote in" in said


def test_a_second_open_edit_of_a_thing(submitted: Any, bob: Any) -> None:
    other = ChangeSet.objects.create(title="Other", reason="The same thing.", author=bob)
    said = refused(
        """INSERT INTO changes_edit (id, change_set_id, kind, document, name, before, after, open,
           edited_by_id, edited_at) SELECT gen_random_uuid(), %s, kind, document, name, before,
           after, true, edited_by_id, now() FROM changes_edit WHERE change_set_id = %s""",
        other.number,
        submitted.number,
    )
    assert "one_open_change_set_a_thing" in said


def test_bulk_updates_and_raw_sql_are_in_the_history(draft: Any) -> None:
    ChangeSet.objects.filter(pk=draft.pk).update(title="By a bulk update")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE changes_changeset SET title = 'By SQL' WHERE number = %s", [draft.number]
        )
        cursor.execute("DELETE FROM changes_edit WHERE change_set_id = %s", [draft.number])
    history = apps.get_model("changes", "ChangeSetEvent").objects.filter(number=draft.number)
    titles = list(history.order_by("pgh_id").values_list("title", flat=True))
    assert titles[-2:] == ["By a bulk update", "By SQL"]
    edits = apps.get_model("changes", "EditEvent").objects.filter(change_set_id=draft.number)
    assert edits.order_by("pgh_id").last().pgh_label == "delete"


def test_edits_close_with_their_change_set(draft: Any) -> None:
    ChangeSet.objects.filter(pk=draft.pk).update(state=State.WITHDRAWN)
    assert not Edit.objects.get(change_set=draft).open
    assert not Approval.objects.exists()
