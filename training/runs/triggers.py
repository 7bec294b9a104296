"""The steps of a run, kept by PostgreSQL: they hold for bulk updates and raw SQL as well."""

import pgtrigger

from audit.triggers import NO_TRUNCATE

# A run that succeeded never changes. One that ended otherwise changes by being resumed alone, and
# then its next attempt begins by being taken, as the first one did.
_STEPS = """
IF TG_OP = 'INSERT' THEN
  IF NEW.state <> 'queued' OR NEW.attempts <> 0 THEN
    RAISE EXCEPTION 'a run starts by waiting';
  END IF;
  RETURN NEW;
END IF;
IF NEW.id <> OLD.id OR NEW.profile <> OLD.profile OR NEW.overrides <> OLD.overrides
   OR NEW.data_set <> OLD.data_set OR NEW.data_set_name <> OLD.data_set_name
   OR NEW.base <> OLD.base OR NEW.seed <> OLD.seed OR NEW.started_by <> OLD.started_by
   OR NEW.created_at <> OLD.created_at THEN
  RAISE EXCEPTION 'what a run was asked to do never changes';
END IF;
IF NEW.state = OLD.state THEN
  IF OLD.state NOT IN ('queued', 'running', 'cancelling') THEN
    RAISE EXCEPTION 'a run that has ended does not change';
  END IF;
ELSIF (OLD.state, NEW.state) NOT IN (
     ('queued', 'running'), ('queued', 'cancelled'), ('running', 'cancelling'),
     ('running', 'succeeded'), ('running', 'failed'), ('running', 'refused'),
     ('running', 'cancelled'), ('running', 'lost'),
     ('cancelling', 'succeeded'), ('cancelling', 'failed'), ('cancelling', 'refused'),
     ('cancelling', 'cancelled'), ('cancelling', 'lost'),
     ('failed', 'queued'), ('refused', 'queued'), ('cancelled', 'queued'), ('lost', 'queued')) THEN
  RAISE EXCEPTION 'a run does not go from % to %', OLD.state, NEW.state;
END IF;
IF NEW.attempts <> OLD.attempts + (OLD.state = 'queued' AND NEW.state = 'running')::int THEN
  RAISE EXCEPTION 'an attempt is counted when a run is taken';
END IF;
RETURN NEW;
"""
_WHILE_IT_GOES_ON = """
IF TG_OP = 'DELETE' THEN touched := OLD.run_id; ELSE touched := NEW.run_id; END IF;
IF TG_OP = 'UPDATE' AND NEW.run_id <> OLD.run_id THEN
  RAISE EXCEPTION 'it stays with its run';
END IF;
EXECUTE format('SELECT state FROM %I.runs_trainingrun WHERE id = $1', TG_TABLE_SCHEMA)
  INTO run_state USING touched;
IF run_state NOT IN ('running', 'cancelling') THEN
  RAISE EXCEPTION 'the run does not go on: nothing is written of it';
END IF;
IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
RETURN NEW;
"""


def for_runs() -> list[pgtrigger.Trigger]:
    """States follow one another as designed; what was asked never changes; nothing is removed."""
    return [
        pgtrigger.Protect(name="never_removed", operation=pgtrigger.Delete),
        NO_TRUNCATE,
        pgtrigger.Trigger(
            name="steps",
            operation=pgtrigger.Insert | pgtrigger.Update,
            when=pgtrigger.Before,
            func=_STEPS,
        ),
    ]


def for_what_is_told() -> list[pgtrigger.Trigger]:
    """Points and lines are written, and thinned out, while their run goes on."""
    return [
        NO_TRUNCATE,
        pgtrigger.Trigger(
            name="while_it_goes_on",
            operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
            when=pgtrigger.Before,
            declare=[("touched", "uuid"), ("run_state", "text")],
            func=_WHILE_IT_GOES_ON,
        ),
    ]
