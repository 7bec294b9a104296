"""Liveness and readiness: each part is checked for real, and the one that fails is named."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from access.keys.limiter import store
from deploy.local.processes import random_port
from mapping import selectors
from mapping.selectors import versions_in_force
from pillars.health import CHECKS, HEARTBEAT_KEY, REQUIRED
from pillars.tasks import heartbeat

Api = Callable[..., Any]

# Runs in a process of its own, against servers that are not there.
ASK = """
import json, time
import django; django.setup()
from django.test import Client
from access.keys.secrets import new_secret
client, found = Client(raise_request_exception=False), {}
def ask(name, method, path, **headers):
    started = time.monotonic()
    answer = client.generic(method, path, b'{"detector": "presidio", "output": "x"}',
        content_type="application/json", headers={"host": "localhost", **headers})
    found[name] = {"status": answer.status_code, "text": answer.content.decode(),
        "seconds": time.monotonic() - started, "headers": dict(answer.headers)}
ask("live", "GET", "/health/live")
ask("ready", "GET", "/health/ready")
ask("map", "POST", "/map", authorization=f"Bearer {new_secret()[1]}")
ask("tenant", "GET", "/admin/", host="acme.localhost")
ask("admin", "POST", "/admin/login/", cookie="sessionid=abcdefghijklmnop")
ask("metrics", "GET", "/metrics")
print("\\n" + json.dumps(found))
"""


def test_without_database_and_broker() -> None:
    port = random_port()
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={
            **os.environ,
            "DATABASE_URL": f"postgresql://nobody:hunter2@127.0.0.1:{port}/none",
            "REDIS_URL": f"redis://:hunter3@127.0.0.1:{port}/0",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["live"]["status"] == 200
    assert found["ready"]["status"] == 503
    ready = json.loads(found["ready"]["text"])
    assert ready["status"] == "unavailable"
    assert set(ready["failed"]) - {"pdf"} == {"database", "knowledge", "broker", "worker"}
    assert "DATABASE_URL" in ready["parts"]["database"]
    assert ready["mode"] is None
    assert ready["served"] is None
    for name in ("map", "tenant", "admin"):
        assert found[name]["status"] == 503, name
        assert found[name]["headers"]["Retry-After"] == "2"
        assert found[name]["seconds"] < 3
    assert json.loads(found["map"]["text"])["code"] == "database_unavailable"
    assert found["metrics"]["status"] == 200
    said = done.stdout + done.stderr
    assert "hunter" not in said
    assert "Traceback" not in said


@pytest.mark.django_db
class TestReady:
    @pytest.fixture
    def alive(self) -> None:
        heartbeat()

    @pytest.fixture
    def pdf_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether this machine has pango is not the question here."""
        monkeypatch.setitem(CHECKS, "pdf", lambda: "ok")

    def test_every_part_works(self, api: Api, alive: None, pdf_works: None) -> None:
        answer = api("GET", "/health/ready")
        assert answer.status_code == 200
        versions = versions_in_force()
        assert answer.json() == {
            "status": "ready", "parts": dict.fromkeys(CHECKS, "ok"), "failed": [],
            "versions": {"release": versions["release"], "taxonomy": "2026.11"},
            "mode": settings.CONFIG.mapping.mode,
            "served": {"live": None, "trial": None, "shadow": None},
        }  # fmt: skip

    @pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
    def test_the_same_under_the_version(self, api: Api, path: str) -> None:
        assert api("GET", f"/api/v1{path}").status_code == 200

    @pytest.mark.parametrize("seen", [None, 0.0])
    def test_a_worker_without_a_sign_of_life(
        self, api: Api, pdf_works: None, seen: float | None
    ) -> None:
        store().delete(HEARTBEAT_KEY)
        if seen is not None:
            store().set(HEARTBEAT_KEY, time.time() - 46)
        answer = api("GET", "/health/ready")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["failed"] == ["worker"]
        assert "worker and beat" in answer.json()["parts"]["worker"]

    def test_no_taxonomy_loaded(self, api: Api, alive: None, pdf_works: None, acme: Any) -> None:
        """An empty table takes the place of the releases until the transaction ends."""
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE taxonomy_knowledgerelease RENAME TO was")
            cursor.execute("CREATE TABLE taxonomy_knowledgerelease (LIKE was)")
        selectors.forget_engine()
        try:
            answer = api("GET", "/health/ready")
            assert answer.status_code == 503
            assert answer.json()["failed"] == ["knowledge"]
            assert "load_config" in answer.json()["parts"]["knowledge"]
            assert answer.json()["versions"] is None
            item = {"detector": "presidio", "output": "x"}
            for refused in (api("POST", "/map", acme.key, json=item),
                            api("GET", "/versions", acme.key)):  # fmt: skip
                assert refused.status_code == 503
                assert refused.json()["code"] == "knowledge_unavailable"
        finally:
            selectors.forget_engine()

    def test_a_part_that_is_not_required_never_takes_the_service_out(
        self, api: Api, alive: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in CHECKS:
            with monkeypatch.context() as patch:
                patch.setitem(CHECKS, name, lambda: "broken")
                answer = api("GET", "/health/ready")
            assert name in answer.json()["failed"]
            assert answer.json()["parts"][name] == "broken"
            assert answer.status_code == (503 if name in REQUIRED else 200)
