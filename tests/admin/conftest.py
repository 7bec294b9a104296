"""People logged in to the admins, without a browser."""

from collections.abc import Callable

import pytest
from django.test import Client

from tests.conftest import PASSWORD, DemoTenant

SignIn = Callable[..., Client]


@pytest.fixture
def sign_in(plain_static: None) -> SignIn:
    """A function that logs `admin` or `officer` in at a tenant."""

    def log_in(tenant: DemoTenant, username: str = "admin") -> Client:
        client = Client(headers={"host": tenant.host})
        form = {"username": username, "password": PASSWORD}
        answer = client.post("/admin/login/?next=/admin/", form)
        assert answer.status_code == 302
        return client

    return log_in


@pytest.fixture
def operator(db: None, plain_static: None) -> Client:
    """The operator at the platform's own host."""
    from access.users.services import ensure_user

    ensure_user(username="operator", password=PASSWORD, superuser=True, actor="system:tests")
    client = Client(headers={"host": "localhost"})
    form = {"username": "operator", "password": PASSWORD}
    assert client.post("/admin/login/?next=/admin/", form).status_code == 302
    return client


@pytest.fixture
def send() -> Callable[..., str]:
    """A function that posts an output with a tenant's key: the event's id."""

    def post(tenant: DemoTenant, detector: str, output: object) -> str:
        answer = Client().post(
            "/map",
            {"detector": detector, "output": output},
            content_type="application/json",
            headers={"host": "localhost", "authorization": f"Bearer {tenant.key}"},
        )
        assert answer.status_code == 200, answer.content
        return str(answer.json()["event_id"])

    return post
