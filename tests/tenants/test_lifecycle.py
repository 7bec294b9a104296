"""Suspending, resuming, exporting and deleting a tenant."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection

from access.keys.models import ApiKey, Scope
from access.keys.services import ApiKeyError, create_key, revoke_key, rotate_key
from access.users.models import User
from access.users.services import ensure_user
from audit.models import AuditEntry
from mapping.models import MappingEvent
from tenants import export
from tenants.context import PUBLIC, current_schema, tenant_context
from tenants.errors import TenantError
from tenants.export import export_tenant
from tenants.models import Tenant, TenantState
from tenants.services import delete_tenant, provision_tenant, resume_tenant, suspend_tenant
from tests.support.threads import together

Api = Callable[..., Any]
ACTOR = "user:operator"
ITEM = {"detector": "presidio", "output": [{"entity_type": "US_SSN", "score": 0.85}]}
PASSWORD = "a long enough password"


@pytest.fixture
def tenant(new_tenant: Callable[..., Tenant]) -> Tenant:
    return provision_tenant(tenant_id=new_tenant().id)


@pytest.fixture
def key(tenant: Tenant) -> str:
    scopes = [Scope.MAP_WRITE, Scope.EVENTS_READ]
    return create_key(tenant=tenant, name="k", scopes=scopes, actor=ACTOR).secret


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def manage(*words: str) -> None:
    subprocess.run(
        [sys.executable, str(settings.REPOSITORY / "manage.py"), *words],
        env=dict(os.environ),
        check=True,
        capture_output=True,
    )


class TestSuspend:
    def test_counts_from_the_next_request_on(self, api: Api, tenant: Tenant, key: str) -> None:
        host = f"{tenant.slug}.localhost"
        assert api("POST", "/map", key, json=ITEM).status_code == 200
        suspend_tenant(tenant=tenant, actor=ACTOR, reason="did not pay")
        tenant.refresh_from_db()
        assert (tenant.state, tenant.state_detail) == (TenantState.SUSPENDED, "did not pay")
        assert code(api("POST", "/map", key, json=ITEM)) == (403, "tenant_inactive")
        assert code(api("GET", "/events", key)) == (403, "tenant_inactive")
        assert code(api("POST", "/map", key, json=ITEM, host=host)) == (403, "tenant_inactive")
        assert code(api("GET", "/health/live", host=host)) == (403, "tenant_inactive")
        assert api("GET", "/admin/", host=host).status_code == 403
        resume_tenant(tenant=tenant, actor=ACTOR)
        assert api("POST", "/map", key, json=ITEM, host=host).status_code == 200
        with tenant_context(tenant):
            assert MappingEvent.objects.count() == 2

    def test_from_another_process_too(self, api: Api, tenant: Tenant, key: str) -> None:
        """This process has the key in its cache and learns of the change by the shared store."""
        assert api("POST", "/map", key, json=ITEM).status_code == 200
        manage("tenant", "suspend", tenant.slug, "--reason", "by command")
        assert code(api("POST", "/map", key, json=ITEM)) == (403, "tenant_inactive")

    def test_is_written_down(self, tenant: Tenant) -> None:
        suspend_tenant(tenant=tenant, actor=ACTOR, reason="why")
        resume_tenant(tenant=tenant, actor=ACTOR)
        trail = AuditEntry.objects.filter(target=str(tenant.id)).order_by("id")
        assert [(e.action, e.actor, e.detail) for e in trail] == [
            ("tenant.created", "system:tests", {"slug": tenant.slug}),
            ("tenant.suspended", ACTOR, {"reason": "why"}),
            ("tenant.active", ACTOR, {"reason": ""}),
        ]

    def test_only_what_makes_sense(self, tenant: Tenant) -> None:
        with pytest.raises(TenantError, match="needs one that is suspended"):
            resume_tenant(tenant=tenant, actor=ACTOR)
        suspend_tenant(tenant=tenant, actor=ACTOR, reason="x")
        with pytest.raises(TenantError, match="needs one that is active"):
            suspend_tenant(tenant=tenant, actor=ACTOR, reason="x")


class TestExport:
    def contents(self, archive: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
        with zipfile.ZipFile(archive) as file:
            assert file.testzip() is None
            manifest = json.loads(file.read("manifest.json"))
            rows = {}
            for table, facts in manifest["tables"].items():
                raw = file.read(f"{table}.jsonl")
                assert hashlib.sha256(raw).hexdigest() == facts["sha256"]
                rows[table] = [json.loads(line) for line in raw.splitlines()]
                assert len(rows[table]) == facts["rows"]
            assert set(file.namelist()) == {"manifest.json", *(f"{t}.jsonl" for t in rows)}
        return manifest, rows

    def test_holds_every_table(self, api: Api, tenant: Tenant, key: str, tmp_path: Path) -> None:
        sent = [api("POST", "/map", key, json=ITEM).json()["event_id"] for _ in range(3)]
        with tenant_context(tenant):
            ensure_user(username="jane", password=PASSWORD, actor=ACTOR)
        archive = export_tenant(tenant=tenant, directory=tmp_path / "new" / "folder")
        assert archive.name.startswith(f"pillars-tenant-{tenant.slug}-")
        assert archive.stat().st_mode & 0o777 == 0o600
        assert list(archive.parent.iterdir()) == [archive]
        manifest, rows = self.contents(archive)
        assert manifest["tenant"] == {
            "id": str(tenant.id), "slug": tenant.slug, "name": tenant.name,
        }  # fmt: skip
        assert {row["id"] for row in rows["mapping_mappingevent"]} == set(sent)
        assert [row["username"] for row in rows["users_user"]] == ["jane"]
        assert {row["action"] for row in rows["audit_auditentry"]} >= {
            "key.created", "user.created",
        }  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE nspname = %s AND relkind IN ('r', 'p') AND NOT relispartition",
                [tenant.schema_name],
            )
            there = {row[0] for row in cursor.fetchall()}
        assert set(rows) == there - {"django_session"}

    def test_holds_no_password_and_no_session(
        self, plain_static: None, tenant: Tenant, tmp_path: Path, client: Any
    ) -> None:
        with tenant_context(tenant):
            ensure_user(username="jane", password=PASSWORD, superuser=True, actor=ACTOR)
            stored = User.objects.get(username="jane").password
        answer = client.post(
            "/admin/login/?next=/admin/",
            {"username": "jane", "password": PASSWORD},
            headers={"host": f"{tenant.slug}.localhost"},
        )
        assert answer.status_code == 302
        session = client.cookies["sessionid"].value
        archive = export_tenant(tenant=tenant, directory=tmp_path)
        with zipfile.ZipFile(archive) as file:
            everything = b"".join(file.read(name) for name in file.namelist()).decode()
        for secret in (stored, stored.split("$")[-1], session, "pbkdf2_sha256"):
            assert secret not in everything

    def test_shows_all_tables_at_one_moment(
        self, tenant: Tenant, tmp_path: Path, monkeypatch: Any
    ) -> None:
        """A person who is added while the export runs is in none of its tables."""
        read = export._lines
        seen: list[str] = []

        def add_person() -> None:
            with tenant_context(tenant):
                ensure_user(username="late", password=PASSWORD, actor=ACTOR)

        def lines(schema: str, table: str) -> Any:
            seen.append(table)
            if len(seen) == 2:
                together([add_person])
            return read(schema, table)

        monkeypatch.setattr(export, "_lines", lines)
        _, rows = self.contents(export_tenant(tenant=tenant, directory=tmp_path))
        assert seen.index("users_user") > 2
        assert rows["users_user"] == []
        with tenant_context(tenant):
            assert User.objects.filter(username="late").exists()

    def test_a_folder_that_cannot_be_written(self, tenant: Tenant, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(TenantError, match="Nothing was deleted"):
            export_tenant(tenant=tenant, directory=blocked)

    def test_a_failure_leaves_nothing_half_written(self, tenant: Tenant, tmp_path: Path) -> None:
        """The last table cannot be read to its end."""
        with connection.cursor() as cursor:
            cursor.execute(
                f'CREATE TABLE "{tenant.schema_name}".zzz (bad int, worse int GENERATED ALWAYS '
                "AS (1 / bad) VIRTUAL)"
            )
            cursor.execute(f'INSERT INTO "{tenant.schema_name}".zzz VALUES (0)')
        with pytest.raises(DatabaseError):
            export_tenant(tenant=tenant, directory=tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert current_schema() == PUBLIC


class TestDelete:
    def test_never_an_active_one(self, tenant: Tenant) -> None:
        with pytest.raises(TenantError, match="Suspend the tenant first"):
            delete_tenant(tenant=tenant, actor=ACTOR)

    def test_leaves_a_row_and_frees_the_name(
        self, api: Api, new_tenant: Callable[..., Tenant], tenant: Tenant, key: str
    ) -> None:
        slug, schema, host = tenant.slug, tenant.schema_name, f"{tenant.slug}.localhost"
        event = api("POST", "/map", key, json=ITEM).json()["event_id"]
        suspend_tenant(tenant=tenant, actor=ACTOR, reason="x")
        delete_tenant(tenant=tenant, actor=ACTOR)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", [schema])
            assert cursor.fetchone()[0] == 0
        row = Tenant.objects.get(pk=tenant.pk)
        assert row.state == TenantState.DELETED
        assert slug not in (row.slug, row.schema_name)
        assert AuditEntry.objects.filter(action="tenant.deleted", target=str(tenant.id)).exists()
        assert code(api("GET", "/health/live", host=host)) == (404, "unknown_host")
        assert api("POST", "/map", key, json=ITEM).status_code == 401

        again = provision_tenant(tenant_id=new_tenant(slug).id)
        assert again.schema_name == schema
        assert again.pk != tenant.pk
        assert api("POST", "/map", key, json=ITEM).status_code == 401
        assert api("POST", "/map", key, json=ITEM, host=host).status_code == 401
        with tenant_context(again):
            assert not MappingEvent.objects.filter(pk=event).exists()

    def test_ends_its_keys(self, tenant: Tenant, key: str) -> None:
        """An operator may still look at them; nothing can be done with them any more."""
        (stored,) = ApiKey.objects.filter(tenant=tenant)
        suspend_tenant(tenant=tenant, actor=ACTOR, reason="x")
        delete_tenant(tenant=tenant, actor=ACTOR)
        stored.refresh_from_db()
        assert stored.state == "revoked"
        revoke_key(key=stored, actor=ACTOR)
        with pytest.raises(ApiKeyError, match="revoked"):
            rotate_key(key=stored, actor=ACTOR)

    def test_a_tenant_that_was_never_set_up(self, new_tenant: Callable[..., Tenant]) -> None:
        tenant = new_tenant()
        delete_tenant(tenant=tenant, actor=ACTOR)
        assert Tenant.objects.get(pk=tenant.pk).state == TenantState.DELETED


class TestCommand:
    def test_exports_first(
        self, api: Api, tenant: Tenant, key: str, tmp_path: Path, capsys: Any
    ) -> None:
        api("POST", "/map", key, json=ITEM)
        call_command("tenant", "suspend", tenant.slug, "--reason", "over")
        call_command("tenant", "delete", tenant.slug, "--export", str(tmp_path), "--yes")
        (archive,) = tmp_path.iterdir()
        with zipfile.ZipFile(archive) as file:
            assert file.read("mapping_mappingevent.jsonl").count(b"\n") == 1
        said = capsys.readouterr().out
        assert f"Exported to {archive}" in said
        assert f"{tenant.slug} is deleted." in said
        assert Tenant.objects.get(pk=tenant.pk).state == TenantState.DELETED

    def test_asks(self, tenant: Tenant, tmp_path: Path, monkeypatch: Any) -> None:
        call_command("tenant", "suspend", tenant.slug, "--reason", "over")
        monkeypatch.setattr("builtins.input", lambda _question: "yes")
        with pytest.raises(CommandError, match="Nothing was deleted"):
            call_command("tenant", "delete", tenant.slug, "--export", str(tmp_path))
        assert Tenant.objects.get(pk=tenant.pk).state == TenantState.SUSPENDED
        assert list(tmp_path.iterdir()) == []

    def test_deletes_nothing_without_an_export(self, tenant: Tenant, tmp_path: Path) -> None:
        call_command("tenant", "suspend", tenant.slug, "--reason", "over")
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(CommandError, match="Nothing was deleted"):
            call_command("tenant", "delete", tenant.slug, "--export", str(blocked), "--yes")
        assert Tenant.objects.get(pk=tenant.pk).state == TenantState.SUSPENDED
