"""Two tenants with something recognisable in every table, and everybody's credentials."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from access.keys.models import Scope
from access.keys.services import create_key
from access.usage.models import KeyUse
from access.users.models import User
from access.users.services import ensure_user
from audit.services import record
from mapping.models import (
    Direction,
    MappingEvent,
    MigratedLabels,
    MigrationRun,
    ReviewItem,
    RunState,
    ShadowAnswer,
    ThresholdScope,
)
from mapping.overrides import set_threshold
from mapping.pins import pin_release, tenant_knowledge
from mapping.review import services as review
from mapping.review.sweep import sweep
from mapping.serving.models import ServingChoice
from mapping.switch.services import change_mode
from reporting.models import Report, ReportFile, ReportState
from taxonomy import models as taxonomy
from taxonomy.changes import services as changes
from taxonomy.changes.suggesting import suggest
from tenants.context import public_context, tenant_context
from tenants.models import Tenant
from training.models import ModelVersion
from training.runs.models import TrainingRun

ACTOR = "system:tests"
PASSWORD = "a long enough test password"
# Rows with counted ids begin far apart, so that a number names a row of one tenant only.
_FIRST_ID = {"acme": 910_000, "globex": 920_000}


@dataclass
class Side:
    """A tenant, what gives it away, the ids of its rows, keys, and sessions of its people."""

    tenant: Tenant
    ids: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    weak_keys: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return f"{self.tenant.slug}.localhost"

    @property
    def mark(self) -> str:
        """Stands in all of the tenant's own data, in lower case."""
        return f"zq{self.tenant.slug}data"

    @property
    def key_mark(self) -> str:
        """Stands in the names of its keys, which operators may see as well."""
        return f"zq{self.tenant.slug}key"

    @property
    def names(self) -> tuple[str, ...]:
        """Everything by which the tenant could be recognised, in lower case."""
        tenant = self.tenant
        words = (tenant.slug, tenant.name, str(tenant.id), tenant.schema_name, self.mark)
        return tuple(word.lower() for word in (*words, self.key_mark))


@dataclass
class World:
    """Both sides and the operator."""

    acme: Side
    globex: Side
    operator: str
    planted: dict[str, dict[str, str]] = field(default_factory=dict)  # contents by short name

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever a request does in the block is taken back."""
        with transaction.atomic():
            yield
            transaction.set_rollback(True)


def plant() -> World:
    """Fill both tenants. Runs in a transaction that is rolled back in the end."""
    sides = [_plant_side(Tenant.objects.get(slug=slug)) for slug in ("acme", "globex")]
    ensure_user(username="operator", password=PASSWORD, superuser=True, actor=ACTOR)
    operator = User.objects.get(username="operator")
    change_set = changes.start(title="A change", reason="Everybody's.", author=operator)
    # The mode of the file: what is planted changes nothing for other tests in this process.
    choice = change_mode(mode=settings.CONFIG.mapping.mode, reason="Everybody's.", actor=ACTOR)
    served = ServingChoice.objects.create(number=1, kind="trial_ended", made_by=ACTOR)
    version = _plant_model(operator)
    run = TrainingRun.objects.create(
        profile="smollm2", data_set="0" * 64, data_set_name="everybody", base="packaged", seed=0,
        started_by=ACTOR, queued_at=timezone.now(),
    )  # fmt: skip
    for side in sides:
        side.ids["training.modelversion"] = version.pk
        side.ids["runs.trainingrun"] = run.pk
        side.ids["changes.changeset"] = change_set.pk
        side.ids["switch.modechoice"] = choice.pk
        side.ids["serving.servingchoice"] = served.pk
    world = World(*sides, operator=_session(operator))
    world.planted = {side.tenant.slug: contents(side) for side in sides}
    return world


def _plant_model(operator: User) -> ModelVersion:
    """A version of a model is the platform's; its files are not there, which its page says."""
    words = ("adapter_sha256", "base", "base_sha256", "data_set", "prompt", "edition", "encoder")
    return ModelVersion.objects.create(
        name="mapper-lora", version="0.2.0", author=operator, created_by=ACTOR, calibrator={},
        training={}, manifest={"files": {}}, card="", **dict.fromkeys(words, "x"),
    )  # fmt: skip


def _plant_side(tenant: Tenant) -> Side:
    side = Side(tenant)
    _plant_keys(side)
    _plant_shared_ids(side)
    with tenant_context(tenant):
        _plant_people(side)
    _plant_event(side)
    with tenant_context(tenant):
        _plant_migration(side)
        _plant_review(side)
        _plant_report(side)
        side.ids["serial"] = tenant_knowledge().effective
        side.ids["mapping.knowledgepin"] = pin_release(
            serial=side.ids["serial"], actor=f"user:{side.mark}", note=side.mark
        ).pk
        side.ids["mapping.thresholdoverride"] = set_threshold(
            scope=ThresholdScope.DETECTOR, subject=f"{side.mark}-detector", value=0.5,
            actor=f"user:{side.mark}", note=side.mark,
        ).pk  # fmt: skip
        today = date.today()
        ShadowAnswer.objects.create(
            live="v1", trial="v2", detector=f"{side.mark}-detector", label=side.mark,
            live_label="PII.Other", trial_label="PII.Other", asked=1, first_day=today,
            last_day=today,
        )  # fmt: skip
        side.ids["audit.auditentry"] = record(
            action="zq.marked", actor=f"user:{side.mark}", target=side.mark, detail={"x": side.mark}
        ).pk
        KeyUse.objects.create(
            key_id=side.ids["keys.apikey"], day=date.today(), last_used_at="2026-01-01T00:00Z"
        )
    return side


def _plant_keys(side: Side) -> None:
    issued = create_key(
        tenant=side.tenant, name=side.key_mark, scopes=[Scope.ADMIN], actor=f"user:{side.key_mark}"
    )
    side.key = issued.secret
    side.ids["keys.apikey"] = issued.key.pk
    side.ids["tenants.tenant"] = side.tenant.pk
    for scope in Scope:
        if scope != Scope.ADMIN:
            made = create_key(tenant=side.tenant, name="weak", scopes=[scope], actor=ACTOR)
            side.weak_keys[scope.value] = made.secret


def _plant_shared_ids(side: Side) -> None:
    """Knowledge is everybody's: any row will do."""
    for model in (
        taxonomy.KnowledgeRelease, taxonomy.TaxonomyEdition, taxonomy.Label, taxonomy.DetectorMap,
        taxonomy.DetectorLabel, taxonomy.FrameworkEdition, taxonomy.Control,
        taxonomy.CrosswalkEdition, taxonomy.CrosswalkRow, taxonomy.MigrationPlanEdition,
    ):  # fmt: skip
        first = model.objects.first()
        assert first is not None
        side.ids[model._meta.label_lower] = first.pk


def _plant_people(side: Side) -> None:
    first = _FIRST_ID[side.tenant.slug]
    marked = User.objects.create(
        pk=first, username=f"{side.mark}.user", email=f"{side.mark}@example.com", is_staff=True
    )
    side.ids["users.user"] = marked.pk
    side.ids["auth.group"] = Group.objects.create(pk=first, name=f"{side.mark} role").pk
    User.objects.create(username="nobody", is_staff=True)
    User.objects.create(username="outsider", is_staff=False)
    User.objects.create(username="chief", is_staff=True, is_superuser=True)
    for name in ("admin", "officer", "nobody", "outsider", "chief"):
        side.sessions[name] = _session(User.objects.get(username=name))


def _session(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def _plant_event(side: Side) -> None:
    answer = Client().post(
        "/map",
        {
            "detector": f"{side.mark}-detector",
            "output": f"{side.mark}label",
            "vendor": f"{side.mark}-vendor",
            "detector_version": f"{side.mark}-1",
            "raw_ref": f"s3://{side.mark}/1",
            "route": f"/{side.mark}",
            "policy_context": {"expected_detectors": [f"{side.mark}-expected"]},
        },
        content_type="application/json",
        headers={"host": "localhost", "authorization": f"Bearer {side.key}"},
    )
    assert answer.status_code == 200, answer.content
    assert answer.content.decode().count(side.mark) >= 6
    side.ids["mapping.mappingevent"] = uuid.UUID(answer.json()["event_id"])


def _plant_migration(side: Side) -> None:
    run = MigrationRun.objects.create(
        old="2025.09", new="2026.11", plan_version="2026.11.1", plan_sha256="0" * 64,
        direction=Direction.APPLY, state=RunState.DONE, batch_size=1, actor=f"user:{side.mark}",
    )  # fmt: skip
    event_id = side.ids["mapping.mappingevent"]
    MigratedLabels.objects.create(
        event_id=event_id, received_at=MappingEvent.objects.get(pk=event_id).received_at, run=run,
        given_taxonomy="2025.09", taxonomy="2026.11", labels=[side.mark], canonical=[side.mark],
        given=["OTHER.Unknown"], became=[side.mark], lossy=False, shown=True,
    )  # fmt: skip
    side.ids["mapping.migrationrun"] = run.pk


def _plant_review(side: Side) -> None:
    """The event's label, which waits, and another that is decided; a suggestion says neither."""
    sweep()
    waiting = ReviewItem.objects.get(label=f"{side.mark}label")
    side.ids["mapping.reviewitem"] = waiting.pk
    waiting.pk, waiting.label = uuid.uuid4(), f"{side.mark}other"
    ReviewItem.objects.bulk_create([waiting])
    (decided,) = review.decide(
        items=[waiting.pk], canonical=["PII.Identifier.Other"], note=side.mark,
        actor=f"user:{side.mark}",
    )  # fmt: skip
    side.ids["mapping.labeldecision"] = decided.pk
    side.ids["changes.suggestion"] = suggest(
        tenant=side.tenant.pk, detector="presidio", label="BADGE_NO", canonical=[],
        taxonomy="2026.11",
    ).pk  # fmt: skip


def _plant_report(side: Side) -> None:
    report = Report.objects.create(
        framework="soc2", edition="2017", period_start=date.today(), period_end=date.today(),
        requested_by=f"user:{side.mark}", state_detail=side.mark, state=ReportState.RUNNING,
    )  # fmt: skip
    for name in ("json", "csv", "pdf"):
        content = f'"{side.mark}"'.encode()
        ReportFile.objects.create(
            report=report, format=name, content=content, sha256="0" * 64, size=len(content)
        )
    Report.objects.filter(pk=report.pk).update(state=ReportState.DONE, summary={})
    side.ids["reporting.report"] = report.pk


def contents(side: Side) -> dict[str, str]:
    """A digest of every table of a tenant, its keys among them: to see that nothing changed."""
    tenant = side.tenant
    with public_context(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", [tenant.schema_name]
        )
        tables = {f'"{tenant.schema_name}"."{row[0]}"': "" for row in cursor.fetchall()}
        tables["public.keys_apikey"] = f"WHERE tenant_id = '{tenant.pk}'"
        tables["public.tenants_tenant"] = f"WHERE id = '{tenant.pk}'"
        # One statement for all of them: the matrix asks this thousands of times.
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text))"
                f" FROM {table} t {where}"
                for table, where in tables.items()
            )
        )
        return {table: str(digest) for table, digest in cursor.fetchall()}
