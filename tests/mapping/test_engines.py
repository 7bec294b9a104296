"""Several releases compiled in one process: threads, a full cache, a database that is away."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pgtrigger
import pytest
from django.db import OperationalError, connection
from django.db.models import Model

from mapping import engines, pins
from mapping.engine import DetectorOutput
from mapping.engines import Engines, NoKnowledgeError
from mapping.pins import StalePreviewError, tenant_knowledge
from mapping.selectors import engine_in_force, forget_engine
from taxonomy.loading import editions_of
from taxonomy.models import KnowledgeRelease
from tenants.context import public_context, tenant_context
from tenants.models import Tenant
from tests.conftest import DemoTenant
from tests.support.knowledge import version_of
from tests.support.releases import second_release
from tests.support.schemas import set_up
from tests.support.threads import together

ANN = "user:ann"
SSN = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.85}]


@pytest.fixture(autouse=True)
def _fresh_engines() -> Iterator[None]:
    """What a test releases and pins must not outlive it in this process."""
    forget_engine()
    yield
    forget_engine()


@pytest.fixture
def releases(committed: None) -> Iterator[tuple[int, int]]:
    """The serials of the shipped release and of a newer one, committed; taken away afterwards."""
    old, new = second_release()
    yield old, new
    release, before = (KnowledgeRelease.objects.get(serial=serial) for serial in (new, old))
    kept = {row.pk for row in editions_of(before)}
    fresh = [row for row in editions_of(release) if row.pk not in kept]
    with pgtrigger.ignore():
        _delete(release, *fresh)


def _delete(*rows: Model) -> None:
    for row in rows:
        for relation in row._meta.related_objects:
            relation.related_model._base_manager.filter(**{relation.field.name: row}).delete()
        type(row)._base_manager.filter(pk=row.pk).delete()


@pytest.fixture
def tenant(new_tenant: Callable[..., Tenant]) -> Tenant:
    """A tenant of this test alone."""
    return set_up(new_tenant())


def severity(tenant: Tenant) -> str:
    """What the tenant's engine says of a found US_SSN."""
    output = DetectorOutput("presidio", SSN)
    return str(engine_in_force(tenant).engine.map(output, hash_text=lambda _: "0" * 32).severity)


def test_threads_of_two_tenants_get_their_own_answers(
    releases: tuple[int, int], tenant: Tenant, spare: DemoTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While both look at the database all the time, and start with nothing compiled."""
    monkeypatch.setattr(engines, "_REFRESH_SECONDS", 0.001)
    old, new = releases
    with tenant_context(tenant):
        pins.apply_release(serial=old, seen=new, actor=ANN)
    forget_engine()
    wanted = [(tenant, "high"), (spare.tenant, "critical")] * 4

    def ask(one: Tenant) -> set[str]:
        return {severity(one) for _ in range(150)}

    found = together([lambda one=one: ask(one) for one, _ in wanted])
    assert found == [{right} for _, right in wanted]


def test_threads_change_over_and_never_back(
    releases: tuple[int, int], tenant: Tenant, spare: DemoTenant
) -> None:
    """The choice is made in one thread; the others change over, and the neighbour does not."""
    old, new = releases
    with tenant_context(tenant):
        pins.pin_release(serial=new, actor=ANN)
    assert severity(tenant) == "critical"
    done = threading.Event()

    def choose() -> list[str]:
        with tenant_context(tenant):
            pins.apply_release(serial=old, seen=new, actor=ANN)
        done.set()
        return [severity(tenant)]

    def ask(one: Tenant) -> list[str]:
        answers = []
        while not done.is_set():
            answers.append(severity(one))
        return [*answers, severity(one), severity(one)]

    own, *others, neighbour = together(
        [choose, *[lambda: ask(tenant)] * 3, lambda: ask(spare.tenant)]
    )
    assert own == ["high"]
    for answers in others:
        assert answers == sorted(answers)  # critical before high
    assert set(neighbour) == {"critical"}
    assert severity(tenant) == "high"


def test_of_choices_made_at_once_one_is_taken(releases: tuple[int, int], tenant: Tenant) -> None:
    old, new = releases

    def choose() -> str:
        with tenant_context(tenant):
            try:
                pins.apply_release(serial=old, seen=new, actor=ANN)
            except StalePreviewError:
                return "stale"
        return "taken"

    assert sorted(together([choose] * 4)) == ["stale", "stale", "stale", "taken"]


def test_without_the_database_the_last_choice_stays(
    releases: tuple[int, int], tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_REFRESH_SECONDS", 0.0)
    old, new = releases
    with tenant_context(tenant):
        pins.apply_release(serial=old, seen=new, actor=ANN)
    assert (engine_in_force(tenant).serial, engine_in_force().serial) == (old, new)
    connection.close()
    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "PORT", "1")
        assert (engine_in_force(tenant).serial, engine_in_force().serial) == (old, new)
        forget_engine()
        with pytest.raises(OperationalError):  # nothing known: no other release answers
            engine_in_force(tenant)
    assert engine_in_force(tenant).serial == old


def test_a_full_cache_forgets_the_quiet_release_and_comes_back(
    releases: tuple[int, int], tenant: Tenant
) -> None:
    old, new = releases
    with tenant_context(tenant):
        pins.apply_release(serial=old, seen=new, actor=ANN)
    small = Engines(most=1)
    for _ in range(3):
        assert small.of(tenant).serial == old
        assert small.newest().serial == new
        assert len(small._compiled) == 1


def test_a_pinned_release_that_is_gone_stops_its_tenant_alone(
    releases: tuple[int, int], tenant: Tenant, spare: DemoTenant
) -> None:
    """As after a restore of an older database: nothing else answers in its place."""
    with tenant_context(tenant):
        pins.KnowledgePin.objects.create(
            number=1, kind="apply", release=99_999, effective=99_999, previous=releases[0],
            followed=True, made_by=ANN,
        )  # fmt: skip
    for _ in range(2):
        with pytest.raises(NoKnowledgeError, match="Release 99999"):
            engine_in_force(tenant)
    assert engine_in_force(spare.tenant).serial == releases[1]


def test_the_fixture_takes_its_release_away(django_db_setup: Any, committed: None) -> None:
    """Runs after the tests above: the shipped release is the newest again."""
    with public_context():
        newest = KnowledgeRelease.objects.first()
        assert newest is not None
        assert newest.detectors.get(detector="presidio").version == version_of("presidio")
    with tenant_context(Tenant.objects.get(slug="acme")):
        assert tenant_knowledge().newest == newest.serial
