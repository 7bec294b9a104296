"""The live version against the one on trial, in numbers: over all tenants, never one tenant's.

The unit is a label of a tenant's detector: what comes a thousand times is one label. Its last
answer counts, and a person's later decision on it says whether the answer was right.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from mapping.overview import first_id_at
from mapping.serving.in_force import live_name, read_serving
from mapping.serving.models import ServingChoice, ServingKind
from mapping.serving.significance import Outcome, compare_shares, mcnemar
from mapping.serving.types import ServedModel
from tenants.context import public_context, tenant_context
from tenants.selectors import TenantRef, active_tenants

SCAN_LIMIT: Final = 100_000  # newest events of a tenant
QUERY_MILLISECONDS: Final = 8_000

_DECIDED: Final = """
decided AS (
    SELECT DISTINCT ON (detector, label) detector, label, canonical, withdrawn
    FROM mapping_labeldecision
    WHERE decided_at >= %(since)s AND label IS NOT NULL AND run IS NULL
    ORDER BY detector, label, number DESC
)
"""
_RIGHT: Final = """(CASE WHEN d.canonical = '{{}}' THEN {answer} IN ('not_a_finding', 'OTHER.Safe')
                   ELSE {answer} = ANY(d.canonical) END)"""
_ARMS: Final = f"""
WITH recent AS MATERIALIZED (
    SELECT id, detector, model_version, findings FROM mapping_mappingevent
    WHERE id >= %(first_id)s AND received_at >= %(since)s AND model_version IS NOT NULL
    ORDER BY id DESC LIMIT %(limit)s
), asked AS (
    SELECT recent.id, detector, position(%(trial)s IN model_version) > 0 AS trial,
           f->>'source_label' AS label, f->>'method' AS method, f->>'canonical' AS canonical,
           f->'candidates'->0->>0 AS answer
    FROM recent, jsonb_array_elements(findings) AS f
    WHERE jsonb_typeof(f->'candidates') = 'array' AND f->>'source_label' IS NOT NULL
      AND f->>'method' <> 'retrieval'  -- the model gave no answer
      AND (position(%(live)s IN model_version) > 0) <> (position(%(trial)s IN model_version) > 0)
), latest AS (
    SELECT DISTINCT ON (trial, detector, label) * FROM asked
    ORDER BY trial, detector, label, id DESC
), {_DECIDED}
SELECT l.trial, count(*),
       (SELECT count(*) FROM asked AS a WHERE a.trial = l.trial),
       count(*) FILTER (WHERE method = 'model' AND l.canonical <> 'OTHER.NeedsReview'),
       count(*) FILTER (WHERE method = 'none'),
       count(*) FILTER (WHERE NOT d.withdrawn),
       count(*) FILTER (WHERE NOT d.withdrawn AND {_RIGHT.format(answer="l.answer")})
FROM latest AS l LEFT JOIN decided AS d USING (detector, label) GROUP BY l.trial
"""  # noqa: S608 - constants
_PAIRS: Final = f"""
WITH {_DECIDED}, pairs AS (
    SELECT s.live_label = s.trial_label AS agreed,
           CASE WHEN NOT d.withdrawn THEN {_RIGHT.format(answer="s.live_label")} END AS live_right,
           CASE WHEN NOT d.withdrawn THEN {_RIGHT.format(answer="s.trial_label")} END
               AS trial_right
    FROM mapping_shadowanswer AS s LEFT JOIN decided AS d USING (detector, label)
    WHERE s.trial = %(trial_version)s AND s.live = %(live_version)s
)
SELECT count(*), count(*) FILTER (WHERE agreed), count(live_right),
       count(*) FILTER (WHERE live_right AND NOT trial_right),
       count(*) FILTER (WHERE trial_right AND NOT live_right)
FROM pairs
"""  # noqa: S608 - constants


@dataclass(slots=True)
class Arm:
    """What one version has answered. All but `questions` are labels."""

    version: str
    labels: int = 0
    questions: int = 0
    accepted: int = 0  # a label was given
    fallback: int = 0  # left unknown
    decided: int = 0  # later, by a person
    right: int = 0  # of them: as the version had it

    def add(self, row: tuple[int, ...]) -> None:
        """One tenant's numbers."""
        labels, questions, accepted, fallback, decided, right = row
        self.labels += labels
        self.questions += questions
        self.accepted += accepted
        self.fallback += fallback
        self.decided += decided
        self.right += right


@dataclass(slots=True)
class Pairs:
    """Labels that both versions were asked for (shadow)."""

    labels: int = 0
    agreed: int = 0
    decided: int = 0
    only_live: int = 0  # of the decided: the live version alone was right
    only_trial: int = 0

    @property
    def test(self) -> Outcome | None:
        """Whether one is right more often; None without a decided label that tells them apart."""
        return mcnemar(self.only_live, self.only_trial)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of one trial, since it began."""

    since: datetime
    live: Arm
    trial: Arm
    pairs: Pairs
    skipped: list[str] = field(default_factory=list)  # tenants that took too long, by slug

    def tests(self) -> dict[str, Outcome | None]:
        """Whether the shares of the two arms differ by more than chance."""
        live, trial = self.live, self.trial
        return {
            "accepted": compare_shares(live.accepted, live.labels, trial.accepted, trial.labels),
            "fallback": compare_shares(live.fallback, live.labels, trial.fallback, trial.labels),
            "right": compare_shares(live.right, live.decided, trial.right, trial.decided),
        }


def compare() -> Comparison | None:
    """The trial that goes on, counted now over all active tenants; None if there is none.

    A tenant that takes longer than QUERY_MILLISECONDS is left out and named.
    """
    serving = read_serving()
    if serving.trial is None:
        return None
    since = _since(serving.trial)
    found = Comparison(since, Arm(live_name(serving)), Arm(serving.trial.version), Pairs())
    parameters: dict[str, Any] = {
        "since": since,
        "first_id": first_id_at(since - timedelta(minutes=1)),
        "limit": SCAN_LIMIT,
        "live": _mark(serving.live),
        "trial": _mark(serving.trial),
        "live_version": live_name(serving),
        "trial_version": serving.trial.version,
    }
    with public_context():
        tenants = [TenantRef.of(one) for one in active_tenants()]
    for tenant in tenants:
        try:
            _count(tenant, found, parameters)
        except DatabaseError:
            found.skipped.append(tenant.slug)
    return found


def _count(tenant: TenantRef, found: Comparison, parameters: dict[str, Any]) -> None:
    with tenant_context(tenant), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {QUERY_MILLISECONDS}")
        cursor.execute(_ARMS, parameters)
        arms = cursor.fetchall()
        cursor.execute(_PAIRS, parameters)
        labels, agreed, decided, only_live, only_trial = cursor.fetchone()
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    for trial, *numbers in arms:
        (found.trial if trial else found.live).add(tuple(numbers))
    found.pairs.labels += labels
    found.pairs.agreed += agreed
    found.pairs.decided += decided
    found.pairs.only_live += only_live
    found.pairs.only_trial += only_trial


def _since(trial: ServedModel) -> datetime:
    """When the trial that goes on was started."""
    with public_context():
        started = (
            ServingChoice.objects.filter(kind=ServingKind.TRIAL_STARTED)
            .filter(trial__version=trial.version)
            .order_by("-number")
            .values_list("made_at", flat=True)
            .first()
        )
    assert started is not None  # noqa: S101 - a trial is started before it goes on
    return started


def _mark(served: ServedModel | None) -> str:
    """By what an event's model_version is known to name a version (see Resolver.versions)."""
    if served is None:
        return f":{settings.CONFIG.inference.adapter or settings.CONFIG.inference.model}@"
    return f":{served.adapter}@{served.adapter_sha256[:12]}"
