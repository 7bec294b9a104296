"""The reports API, through all of Django's layers."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.models import AuditEntry
from reporting.models import Report
from reporting.services import build_report
from tenants.context import tenant_context

pytestmark = pytest.mark.django_db
TODAY = datetime.now(UTC).date()
WANTED = {
    "framework": "soc2",
    "period_start": (TODAY - timedelta(days=2)).isoformat(),
    "period_end": TODAY.isoformat(),
}


def create(api: Any, demo: Any, prefix: str = "", **headers: str) -> Any:
    response = api("POST", f"{prefix}/reports", demo.key, json=WANTED, **headers)
    assert response.status_code == 202, response.content
    return response


def build(demo: Any, report_id: str) -> None:
    with tenant_context(demo.tenant):
        assert build_report(report_id=uuid.UUID(report_id)) is not None


class TestCreate:
    @pytest.mark.parametrize("prefix", ["", "/api/v1"])
    def test_accepted(self, api: Any, acme: Any, prefix: str) -> None:
        response = create(api, acme, prefix)
        body = response.json()
        assert body["state"] == "queued"
        assert (body["framework"], body["edition"]) == ("soc2", "2017")
        assert body["files"] == []
        assert body["requested_by"].startswith("key:")
        assert response["Location"].endswith(f"{prefix}/reports/{body['id']}")
        path = response["Location"].removeprefix("http://localhost")
        assert api("GET", path, acme.key).json() == body

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"framework": "pci"}, "/framework"),
            ({"framework": "SOC 2"}, "/framework"),
            ({"period_end": (TODAY + timedelta(days=1)).isoformat()}, "/period_end"),
            ({"period_start": "2026-13-01"}, "/period_start"),
            ({"period_start": None}, "/period_start"),
            ({"extra": 1}, "/extra"),
        ],
    )
    def test_refused(self, api: Any, acme: Any, changes: dict[str, Any], pointer: str) -> None:
        response = api("POST", "/reports", acme.key, json={**WANTED, **changes})
        assert response.status_code == 422
        body = response.json()
        assert response["Content-Type"] == "application/problem+json"
        assert body["code"] == "validation_failed"
        assert [error["pointer"] for error in body["errors"]] == [pointer]
        with tenant_context(acme.tenant):
            assert not Report.objects.exists()

    @pytest.mark.parametrize("body", [None, [], "soc2", 1])
    def test_not_an_object(self, api: Any, acme: Any, body: Any) -> None:
        response = api("POST", "/reports", acme.key, json=body)
        assert response.status_code in (400, 422)

    def test_idempotency_key(self, api: Any, acme: Any) -> None:
        first = create(api, acme, idempotency_key="once")
        again = create(api, acme, idempotency_key="once")
        assert again.json() == first.json()
        assert again["Location"] == first["Location"]
        assert again["Idempotency-Replayed"] == "true"
        with tenant_context(acme.tenant):
            assert Report.objects.count() == 1
        other = api(
            "POST", "/reports", acme.key, json={**WANTED, "framework": "hipaa"},
            idempotency_key="once",
        )  # fmt: skip
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


class TestScope:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/reports"),
            ("POST", "/reports"),
            ("GET", f"/reports/{uuid.UUID(int=1)}"),
            ("GET", f"/reports/{uuid.UUID(int=1)}/pdf"),
        ],
    )
    def test_needs_reports_read(self, api: Any, acme: Any, method: str, path: str) -> None:
        assert api(method, path, json=WANTED).status_code == 401
        response = api(method, path, acme.read_key, json=WANTED)
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


class TestRead:
    def test_pages(self, api: Any, acme: Any) -> None:
        ids = [create(api, acme).json()["id"] for _ in range(5)]
        seen: list[str] = []
        path = "/reports?limit=2"
        for _ in range(3):
            page = api("GET", path, acme.key).json()
            seen += [row["id"] for row in page["results"]]
            path = (page["next"] or "").removeprefix("http://localhost")
        assert seen == ids[::-1]
        assert path == ""

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ("cursor=rubbish", 400, "invalid_cursor"),
            ("cursor=cD1ub3QtYS11dWlk", 400, "invalid_cursor"),  # p=not-a-uuid
            ("limit=0", 422, "validation_failed"),
            ("limit=1000", 422, "validation_failed"),
            ("state=done", 422, "validation_failed"),
        ],
    )
    def test_bad_queries(self, api: Any, acme: Any, query: str, status: int, code: str) -> None:
        create(api, acme)
        response = api("GET", f"/reports?{query}", acme.key)
        assert (response.status_code, response.json()["code"]) == (status, code)

    @pytest.mark.parametrize("path", ["/reports/{}", "/reports/{}/pdf"])
    def test_unknown(self, api: Any, acme: Any, path: str) -> None:
        for name in (uuid.uuid4(), "nonsense"):
            response = api("GET", path.format(name), acme.key)
            assert (response.status_code, response.json()["code"]) == (404, "not_found")


class TestDownload:
    def test_not_ready(self, api: Any, acme: Any) -> None:
        report_id = create(api, acme).json()["id"]
        response = api("GET", f"/reports/{report_id}/pdf", acme.key)
        assert (response.status_code, response.json()["code"]) == (409, "not_ready")
        assert response["Retry-After"] == "3"

    def test_done(self, api: Any, acme: Any) -> None:
        report_id = create(api, acme).json()["id"]
        build(acme, report_id)
        body = api("GET", f"/reports/{report_id}", acme.key).json()
        assert body["state"] == "done"
        assert body["summary"]["controls"] == 61
        assert body["versions"]["framework"] == "soc2@2017"
        assert {file["format"] for file in body["files"]} == {"pdf", "csv", "json"}
        types = {"pdf": "application/pdf", "csv": "text/csv", "json": "application/json"}
        for file in body["files"]:
            path = file["url"].removeprefix("http://localhost")
            response = api("GET", path, acme.key, accept="text/html")
            assert response.status_code == 200
            assert response["Content-Type"].startswith(types[file["format"]])
            assert len(response.content) == file["size"]
            assert hashlib.sha256(response.content).hexdigest() == file["sha256"]
            assert response["ETag"] == f'"{file["sha256"]}"'
            assert response["X-Content-Type-Options"] == "nosniff"
            name = f"pillars-soc2-2017_acme_{TODAY - timedelta(days=2)}_{TODAY}.{file['format']}"
            assert response["Content-Disposition"] == f'attachment; filename="{name}"'
            assert response["RateLimit"]
        with tenant_context(acme.tenant):
            entries = AuditEntry.objects.filter(action="report.downloaded", target=report_id)
            assert {entry.detail["format"] for entry in entries} == {"pdf", "csv", "json"}

    def test_the_client_has_it_already(self, api: Any, acme: Any) -> None:
        report_id = create(api, acme).json()["id"]
        build(acme, report_id)
        etag = api("GET", f"/reports/{report_id}/csv", acme.key)["ETag"]
        response = api("GET", f"/reports/{report_id}/csv", acme.key, if_none_match=etag)
        assert (response.status_code, response.content) == (304, b"")
        with tenant_context(acme.tenant):
            assert AuditEntry.objects.filter(action="report.downloaded").count() == 1

    def test_other_formats_are_not_found(self, api: Any, acme: Any) -> None:
        report_id = create(api, acme).json()["id"]
        build(acme, report_id)
        response = api("GET", f"/reports/{report_id}/docx", acme.key)
        assert response.status_code == 404
        assert "pdf, csv or json" in response.json()["detail"]

    def test_a_failed_report_says_why(self, api: Any, acme: Any) -> None:
        report_id = create(api, acme).json()["id"]
        with tenant_context(acme.tenant):
            Report.objects.filter(pk=report_id).update(edition="1999")
        build(acme, report_id)
        body = api("GET", f"/reports/{report_id}", acme.key).json()
        assert (body["state"], body["files"]) == ("failed", [])
        response = api("GET", f"/reports/{report_id}/pdf", acme.key)
        assert response.status_code == 404
        assert response.json()["detail"] == body["state_detail"]


def test_another_tenants_key_finds_nothing(api: Any, acme: Any, globex: Any) -> None:
    report_id = create(api, acme).json()["id"]
    build(acme, report_id)
    assert api("GET", "/reports", globex.key).json()["results"] == []
    for path in (f"/reports/{report_id}", f"/reports/{report_id}/pdf"):
        assert api("GET", path, globex.key).status_code == 404
        refused = api("GET", path, globex.key, host=acme.host)
        assert (refused.status_code, refused.json()["code"]) == (403, "tenant_mismatch")


def test_everything_is_documented(api: Any) -> None:
    response = api("GET", "/openapi.json")
    assert response.status_code == 200, response.content
    document = response.json()
    paths = document["paths"]
    post = paths["/reports"]["post"]["responses"]
    assert set(post) >= {"202", "400", "401", "403", "409", "413", "415", "422", "429", "503"}
    assert "Location" in post["202"]["headers"]
    download = paths["/reports/{report_id}/{file_format}"]["get"]
    assert set(download["responses"]["200"]["content"]) == {
        "application/pdf", "text/csv", "application/json"
    }  # fmt: skip
    assert {"304", "404", "409"} <= set(download["responses"])
    names = {parameter["name"]: parameter for parameter in download["parameters"]}
    assert names["file_format"]["schema"]["enum"] == ["csv", "json", "pdf"]
