"""The rules of versions, kept by PostgreSQL: they hold for bulk updates and raw SQL as well."""

import pgtrigger

from audit.triggers import NO_TRUNCATE

# A version is what its files are: nothing of it changes but its state, and its evaluation, which
# may be added once to a draft that was packed without one. No state changes without its line of
# history, and what is approved or live has an approval that stands.
_STEPS = """
IF TG_OP = 'INSERT' THEN
  IF NEW.state <> 'draft' THEN
    RAISE EXCEPTION 'a version starts as a draft';
  END IF;
  RETURN NEW;
END IF;
IF (to_jsonb(NEW) - 'state' - 'evaluation') <> (to_jsonb(OLD) - 'state' - 'evaluation') THEN
  RAISE EXCEPTION 'a version of a model never changes';
END IF;
IF NEW.evaluation IS DISTINCT FROM OLD.evaluation
   AND (OLD.evaluation IS NOT NULL OR OLD.state <> 'draft') THEN
  RAISE EXCEPTION 'an evaluation is attached once, to a draft';
END IF;
IF NEW.state = OLD.state THEN RETURN NEW; END IF;
IF (OLD.state, NEW.state) NOT IN (
     ('draft', 'evaluated'), ('evaluated', 'approved'), ('approved', 'evaluated'),
     ('approved', 'live'), ('live', 'approved'),
     ('draft', 'retired'), ('evaluated', 'retired'), ('approved', 'retired')) THEN
  RAISE EXCEPTION 'a version does not go from % to %', OLD.state, NEW.state;
END IF;
IF NEW.state <> 'draft' AND NEW.state <> 'retired' AND NEW.evaluation IS NULL THEN
  RAISE EXCEPTION 'a version without an evaluation stays a draft';
END IF;
IF NEW.state IN ('approved', 'live') THEN
  SELECT kind INTO approval FROM public.training_modelapproval
    WHERE version_id = NEW.id ORDER BY number DESC LIMIT 1;
  IF approval IS DISTINCT FROM 'given' THEN
    RAISE EXCEPTION 'a version wants the approval of a second person';
  END IF;
END IF;
SELECT from_state, to_state INTO step FROM public.training_modeltransition
  WHERE version_id = NEW.id ORDER BY number DESC LIMIT 1;
IF step.from_state IS DISTINCT FROM OLD.state OR step.to_state IS DISTINCT FROM NEW.state THEN
  RAISE EXCEPTION 'a state changes together with its line of history';
END IF;
RETURN NEW;
"""
# Nobody approves what they registered or trained. The version is held meanwhile, so that nothing
# comes between the look at its state and the approval.
_BY_OTHERS = """
SELECT * INTO reviewed FROM public.training_modelversion WHERE id = NEW.version_id FOR SHARE;
SELECT 'user:' || username INTO person FROM public.users_user WHERE id = NEW.person_id;
SELECT count(*) INTO before FROM public.training_modelapproval WHERE version_id = NEW.version_id;
IF NEW.number <> before + 1 THEN
  RAISE EXCEPTION 'approvals of a version are numbered from 1';
END IF;
IF NEW.kind = 'withdrawn' THEN
  IF reviewed.state <> 'approved' THEN
    RAISE EXCEPTION 'there is no approval to withdraw: the version is %', reviewed.state;
  END IF;
  RETURN NEW;
END IF;
IF reviewed.state <> 'evaluated' THEN
  RAISE EXCEPTION 'a version is approved once it is evaluated; this one is %', reviewed.state;
END IF;
IF reviewed.author_id = NEW.person_id OR person IN (reviewed.created_by, reviewed.trained_by) THEN
  RAISE EXCEPTION 'nobody approves a version that they registered or trained';
END IF;
RETURN NEW;
"""
_HISTORY = """
SELECT state INTO now FROM public.training_modelversion WHERE id = NEW.version_id FOR SHARE;
SELECT count(*) INTO before FROM public.training_modeltransition WHERE version_id = NEW.version_id;
IF NEW.number <> before + 1 THEN
  RAISE EXCEPTION 'the history of a version is numbered from 1';
END IF;
IF before = 0 THEN now := ''; END IF;
IF NEW.from_state <> now THEN
  RAISE EXCEPTION 'the version is %, not %', now, NEW.from_state;
END IF;
RETURN NEW;
"""


def for_versions() -> list[pgtrigger.Trigger]:
    """States follow one another as designed; everything else stays as it was registered."""
    return [
        pgtrigger.Trigger(
            name="never_removed",
            operation=pgtrigger.Delete,
            when=pgtrigger.Before,
            func="RAISE EXCEPTION 'a version is retired, never deleted';",
        ),
        NO_TRUNCATE,
        pgtrigger.Trigger(
            name="steps",
            operation=pgtrigger.Insert | pgtrigger.Update,
            when=pgtrigger.Before,
            declare=[("approval", "text"), ("step", "record")],
            func=_STEPS,
        ),
    ]


def for_approvals() -> list[pgtrigger.Trigger]:
    """Four eyes: never by who registered or trained it, and only of what was evaluated."""
    return [
        pgtrigger.Trigger(
            name="by_others",
            operation=pgtrigger.Insert,
            when=pgtrigger.Before,
            declare=[
                ("reviewed", "public.training_modelversion%ROWTYPE"),
                ("person", "text"),
                ("before", "integer"),
            ],
            func=_BY_OTHERS,
        )
    ]


def for_transitions() -> list[pgtrigger.Trigger]:
    """The history has no gap, and each line starts where the version stands."""
    return [
        pgtrigger.Trigger(
            name="in_order",
            operation=pgtrigger.Insert,
            when=pgtrigger.Before,
            declare=[("now", "text"), ("before", "integer")],
            func=_HISTORY,
        )
    ]
