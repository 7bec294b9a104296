"""The rules of review, kept by PostgreSQL: they hold for bulk updates and raw SQL as well."""

import pgtrigger

from audit.triggers import NO_TRUNCATE

_KEPT = pgtrigger.Trigger(
    name="never_removed",
    operation=pgtrigger.Delete,
    when=pgtrigger.Before,
    func="RAISE EXCEPTION 'a change set is withdrawn, never deleted';",
)
# Every step that may follow a state. Approved and published also want the approvals. What goes back
# to a draft gets a new revision, so that no approval of the old content counts for the new.
_STEPS = """
IF TG_OP = 'INSERT' THEN
  IF NEW.state <> 'draft' OR NEW.revision <> 1 THEN
    RAISE EXCEPTION 'a change set starts as a draft';
  END IF;
  RETURN NEW;
END IF;
IF NEW.number <> OLD.number OR NEW.author_id <> OLD.author_id
   OR NEW.created_at <> OLD.created_at THEN
  RAISE EXCEPTION 'number, author and start of a change set never change';
END IF;
IF NEW.revision < OLD.revision THEN
  RAISE EXCEPTION 'the revision of a change set only grows';
END IF;
IF OLD.state IN ('submitted', 'approved') AND NEW.state = 'draft' THEN
  IF NEW.revision NOT IN (OLD.revision, OLD.revision + 1) THEN
    RAISE EXCEPTION 'a draft that was sent back has the next revision';
  END IF;
  OLD.revision := OLD.revision + 1;
  NEW.revision := OLD.revision;
END IF;
IF OLD.state <> 'draft' AND (
     NEW.title <> OLD.title OR NEW.reason <> OLD.reason OR NEW.revision <> OLD.revision
     OR NEW.written_by_id IS DISTINCT FROM OLD.written_by_id
     OR NEW.approvals_required <> OLD.approvals_required
     OR NEW.effective_at IS DISTINCT FROM OLD.effective_at) THEN
  RAISE EXCEPTION 'change set % was submitted: send it back before it is changed', OLD.number;
END IF;
IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
     ('draft', 'submitted'), ('draft', 'withdrawn'),
     ('submitted', 'draft'), ('submitted', 'approved'), ('submitted', 'withdrawn'),
     ('approved', 'draft'), ('approved', 'published'), ('approved', 'withdrawn'),
     ('published', 'rolled_back')) THEN
  RAISE EXCEPTION 'a change set does not go from % to %', OLD.state, NEW.state;
END IF;
IF NEW.state <> OLD.state AND NEW.state IN ('approved', 'published') THEN
  SELECT count(DISTINCT approver_id) INTO approvals FROM public.changes_approval
    WHERE change_set_id = NEW.number AND revision = NEW.revision;
  IF approvals < NEW.approvals_required THEN
    RAISE EXCEPTION 'change set % has % of % approvals',
      NEW.number, approvals, NEW.approvals_required;
  END IF;
END IF;
IF NEW.state <> OLD.state AND NEW.state IN ('published', 'rolled_back') AND NOT EXISTS (
     SELECT 1 FROM public.changes_publication
     WHERE change_set_id = NEW.number AND verb = NEW.state) THEN
  RAISE EXCEPTION 'change set % has no release', NEW.number;
END IF;
RETURN NEW;
"""
_CLOSE_EDITS = """
UPDATE public.changes_edit SET open = NEW.state IN ('draft', 'submitted', 'approved')
  WHERE change_set_id = NEW.number AND open <> (NEW.state IN ('draft', 'submitted', 'approved'));
RETURN NEW;
"""
_ONLY_IN_DRAFTS = """
IF TG_OP = 'DELETE' THEN touched := OLD.change_set_id; ELSE touched := NEW.change_set_id; END IF;
SELECT state INTO set_state FROM public.changes_changeset WHERE number = touched FOR SHARE;
IF TG_OP = 'UPDATE' AND NEW.open <> OLD.open
   AND (to_jsonb(NEW) - 'open') = (to_jsonb(OLD) - 'open') THEN
  IF NEW.open <> (set_state IN ('draft', 'submitted', 'approved')) THEN
    RAISE EXCEPTION 'an edit is open as long as its change set is';
  END IF;
  RETURN NEW;
END IF;
IF set_state IS DISTINCT FROM 'draft' THEN
  RAISE EXCEPTION 'change set % was submitted: send it back before it is changed', touched;
END IF;
IF TG_OP = 'UPDATE' AND NEW.change_set_id <> OLD.change_set_id THEN
  RAISE EXCEPTION 'an edit stays in its change set';
END IF;
IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
IF NOT NEW.open THEN RAISE EXCEPTION 'an edit is open as long as its change set is'; END IF;
RETURN NEW;
"""
# Whoever wrote in a change set at any time has a part in it: in an edit, also one that was taken
# out again, by taking one out, in its description, or by submitting it. The history holds them all.
_BY_OTHERS = """
SELECT * INTO reviewed FROM public.changes_changeset WHERE number = NEW.change_set_id FOR SHARE;
IF reviewed.state <> 'submitted' THEN
  RAISE EXCEPTION 'change set % does not wait for approval', NEW.change_set_id;
END IF;
IF reviewed.revision <> NEW.revision THEN
  RAISE EXCEPTION 'change set % is at revision %', NEW.change_set_id, reviewed.revision;
END IF;
IF reviewed.author_id = NEW.approver_id OR EXISTS (
     SELECT 1 FROM public.changes_editevent
     WHERE change_set_id = NEW.change_set_id AND edited_by_id = NEW.approver_id
   ) OR EXISTS (
     SELECT 1 FROM public.changes_changesetevent
     WHERE number = NEW.change_set_id AND written_by_id = NEW.approver_id) THEN
  RAISE EXCEPTION 'nobody approves a change set that they wrote in';
END IF;
RETURN NEW;
"""


def for_change_sets() -> list[pgtrigger.Trigger]:
    """States follow one another as designed, with approvals; submitted content is frozen."""
    return [
        _KEPT,
        NO_TRUNCATE,
        pgtrigger.Trigger(
            name="steps",
            operation=pgtrigger.Insert | pgtrigger.Update,
            when=pgtrigger.Before,
            declare=[("approvals", "integer")],
            func=_STEPS,
        ),
        pgtrigger.Trigger(
            name="close_edits",
            operation=pgtrigger.UpdateOf("state"),  # type: ignore[no-untyped-call]
            when=pgtrigger.After,
            func=_CLOSE_EDITS,
        ),
    ]


def for_edits() -> list[pgtrigger.Trigger]:
    """Edits change in drafts alone."""
    return [
        NO_TRUNCATE,
        pgtrigger.Trigger(
            name="only_in_drafts",
            operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
            when=pgtrigger.Before,
            declare=[("touched", "bigint"), ("set_state", "text")],
            func=_ONLY_IN_DRAFTS,
        ),
    ]


def for_approvals() -> list[pgtrigger.Trigger]:
    """Four eyes: never by somebody who wrote in it, and only of what is there now."""
    return [
        pgtrigger.Trigger(
            name="by_others",
            operation=pgtrigger.Insert,
            when=pgtrigger.Before,
            declare=[("reviewed", "public.changes_changeset%ROWTYPE")],
            func=_BY_OTHERS,
        ),
    ]
