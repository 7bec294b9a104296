"""Labels that wait in a tenant's queue."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mapping.models import ReviewItem
from mapping.review.in_force import forget_decisions
from mapping.review.sweep import sweep
from tenants.context import tenant_context
from tests.conftest import DemoTenant
from tests.support.reviews import ago, event, finding, keep

Waiting = Callable[..., list[ReviewItem]]


@pytest.fixture(autouse=True)
def _fresh_decisions() -> Iterator[None]:
    """What a test decides must not outlive it in this process."""
    forget_decisions()
    yield
    forget_decisions()


@pytest.fixture
def waiting() -> Waiting:
    """waiting(tenant, label, ..., **of the events): the items of unknown labels, in that order."""

    def make(tenant: DemoTenant, *labels: str, **more: Any) -> list[ReviewItem]:
        with tenant_context(tenant.tenant):
            for place, label in enumerate(labels, -len(labels)):
                keep(event(finding(label), **{"at": ago(seconds=-place), **more}))
            sweep()
            found = {item.label: item for item in ReviewItem.objects.filter(label__in=labels)}
        return [found[label] for label in labels]

    return make
