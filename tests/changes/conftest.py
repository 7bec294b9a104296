"""People of the platform, and change sets in the states that tests start from.

The tests run inside a transaction that is rolled back: what they publish is gone afterwards.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from taxonomy.objects import ObjectKey, ObjectKind, objects, row_name
from tests.support.knowledge import edit, folder

__all__ = ["edit", "folder"]

EMAIL_KEY = ObjectKey(ObjectKind.LABEL, "", "PII.Contact.Email")
SSN_KEY = ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "US_SSN")
ROW_KEY = ObjectKey(ObjectKind.CROSSWALK_ROW, "soc2@2017", row_name("PII", "CC6.7"))


@pytest.fixture(autouse=True)
def _fresh_engine() -> Iterator[None]:
    """The compiled release of this process must not outlive a test's releases."""
    from mapping.selectors import forget_engine

    forget_engine()
    yield
    forget_engine()


@pytest.fixture
def person(db: None) -> Callable[..., Any]:
    """person(name, *roles): somebody of the platform with an e-mail address."""
    from django.contrib.auth.models import Group

    from access.users.models import User
    from access.users.services import ensure_roles

    ensure_roles()

    def make(name: str, *roles: str) -> Any:
        user = User.objects.create_user(name, f"{name}@example.org", is_staff=True)
        user.groups.set(Group.objects.filter(name__in=roles))
        return user

    return make


@pytest.fixture
def alice(person: Any) -> Any:
    """Writes change sets; may approve those of others."""
    from access.users.roles import APPROVER, CURATOR

    return person("alice", CURATOR, APPROVER)


@pytest.fixture
def bob(person: Any) -> Any:
    """Approves."""
    from access.users.roles import APPROVER

    return person("bob", APPROVER)


@pytest.fixture
def carol(person: Any) -> Any:
    """Approves as well."""
    from access.users.roles import APPROVER

    return person("carol", APPROVER)


def in_force(key: ObjectKey) -> dict[str, Any] | None:
    """A thing as it is in force now."""
    from taxonomy.selectors import current_documents

    return objects(current_documents()).get(key)


@pytest.fixture
def draft(alice: Any) -> Any:
    """alice's draft: presidio's US_SSN with another severity."""
    from taxonomy.changes import services

    change_set = services.start(
        title="US_SSN is critical", reason="A leaked number cannot be changed.", author=alice
    )
    services.edit(
        number=change_set.number,
        key=SSN_KEY,
        after={"canonical": "PII.Identifier.SSN", "severity": "critical"},
        editor=alice,
    )
    change_set.refresh_from_db()
    return change_set


@pytest.fixture
def submitted(draft: Any, alice: Any) -> Any:
    """The draft, waiting for approval."""
    from taxonomy.changes import services

    return services.submit(number=draft.number, editor=alice, revision=draft.revision)


@pytest.fixture
def approved(submitted: Any, bob: Any) -> Any:
    """The draft, approved by bob."""
    from taxonomy.changes import services

    return services.approve(number=submitted.number, approver=bob, revision=submitted.revision)


@pytest.fixture
def browse(plain_static: None) -> Callable[[Any], Client]:
    """A function that logs somebody of the platform in."""

    def log_in(person: Any) -> Client:
        client = Client(headers={"host": "localhost"})
        client.force_login(person)
        return client

    return log_in


@pytest.fixture
def curator(browse: Any, alice: Any) -> Client:
    """alice's browser."""
    client: Client = browse(alice)
    return client
