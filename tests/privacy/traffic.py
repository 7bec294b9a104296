"""Sends a text to every place of the service that takes one: API, headers, addresses, admin."""

import http.client
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

from deploy.local.state import REPOSITORY
from tests.support.stack import Login

Headers = dict[str, str]
EXAMPLES = REPOSITORY / "pillars-detectors" / "examples" / "raw-outputs.jsonl"
API_PATHS = (
    "/map", "/map/batch", "/events", "/versions", "/reports", f"/reports/{uuid.UUID(int=7)}",
    f"/reports/{uuid.UUID(int=7)}/pdf", "/health/live", "/health/ready", "/metrics",
    "/openapi.json", "/docs", "/",
)  # fmt: skip
PARAMETERS = ("detector", "label", "decision", "severity", "since", "until", "cursor", "limit")
HEADERS = (
    "User-Agent", "Referer", "Cookie", "Origin", "X-Request-ID", "X-Tenant-ID", "X-API-Key",
    "Authorization", "Idempotency-Key", "Accept", "Accept-Language", "Content-Type", "Forwarded",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "traceparent", "If-None-Match",
    "If-Modified-Since", "Range", "X-HTTP-Method-Override",
)  # fmt: skip


class Service:
    """The service as its callers reach it."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, list[tuple[str, str]]]:
        """(status, body, headers). `_` in a header's name stands for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in given)
            for name, value in given.items():
                connection.putheader(name, _header(value))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            with suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it reads
                connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read(), response.getheaders()
        except ConnectionResetError:
            return 0, b"", []  # refused before the whole body was sent, and the answer was lost
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """With the key, JSON in and out."""
        given = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        raw = None if body is None else json.dumps(body).encode()
        status, answer, _ = self.ask(method, path, raw, **{**given, **headers})
        return status, json.loads(answer)


def _header(value: str) -> bytes:
    """A field value on the wire: bytes of UTF-8 pass, line ends cannot."""
    return value.replace("\r", " ").replace("\n", " ").encode("utf-8")


def planted(value: Any, canary: str) -> Iterator[Any]:
    """Copies of a raw output, each with the canary at one more place."""
    if isinstance(value, dict):
        yield {**value, canary: 0.97}
        yield {**value, canary: canary}
        for key, inner in value.items():
            yield {(canary if k == key else k): v for k, v in value.items()}
            for changed in planted(inner, canary):
                yield {**value, key: changed}
    elif isinstance(value, list):
        yield [*value, canary]
        yield [*value, {"label": canary, "type": canary, "text": canary, "entity_type": canary}]
        for place, inner in enumerate(value):
            for changed in planted(inner, canary):
                yield [*value[:place], changed, *value[place + 1 :]]
    else:
        yield canary
        if isinstance(value, str):
            yield f"{value}\n{canary}"
            yield f"{canary}\n{value}"
            for word in list(re.finditer(r"[^\s\"'{}\[\](),:=]+", value))[:12]:
                yield value[: word.start()] + canary + value[word.end() :]


def outputs(canary: str) -> Iterator[dict[str, Any]]:
    """Requests with the canary anywhere in the output, for known and unknown detectors."""
    for line in EXAMPLES.read_text(encoding="utf-8").splitlines():
        if line.strip():
            request = json.loads(line)
            for changed in planted(request["output"], canary):
                yield {**request, "output": changed}
    shapes: tuple[Any, ...] = (
        canary, [canary], {canary: True}, {canary: 0.9}, {canary: False}, {"a": {"b": [canary]}},
        [{"label": canary, "score": 0.9}], [{canary: canary}], [[canary, 0.8]], f"toxic|{canary}",
        f"toxic, {canary}", json.dumps({"label": canary}), {"text": canary, "flagged": True},
        {"results": [{"flagged": True, "categories": {canary: True}, "input": canary}]},
        {"error": {"message": canary}}, {"label": canary}, {"toxic": canary}, canary * 40,
    )  # fmt: skip
    for detector in ("nobody-knows-this", "presidio", "llama-guard-3"):
        for shape in shapes:
            yield {"detector": detector, "output": shape}


def fields(canary: str) -> Iterator[dict[str, Any]]:
    """Requests with the canary in one field beside the output."""
    base = {"detector": "presidio", "output": [{"entity_type": "BADGE_NO", "score": 0.9}]}
    changes: tuple[dict[str, Any], ...] = (
        {"detector": canary}, {"detector": f"presidio {canary}"},
        {"detector_version": canary}, {"vendor": canary}, {"raw_ref": canary},
        {"raw_ref": f"s3://bucket/{quote(canary)}"}, {"raw_ref": f"s3://bucket/{canary}"},
        {"route": canary}, {"route": f"/chat/{canary}"}, {"tenant_id": canary},
        {"taxonomy": canary}, {"taxonomy": "2025.09", "route": canary},
        {"occurred_at": canary}, {"policy_context": {"expected_detectors": [canary]}},
        {"policy_context": {"environment": canary}}, {"policy_context": {canary: canary}},
        {"label_descriptions": {"BADGE_NO": canary}},
        {"label_descriptions": {canary: "passport number"}},
        # The models read the words of labels that no rule knows, with and without a file.
        {"output": [{"entity_type": "ZQ_17"}], "label_descriptions": {"ZQ_17": canary}},
        {"detector": "acme-scanner", "output": [{"label": "ZQ_17"}],
         "label_descriptions": {"ZQ_17": canary}},
        {"label_descriptions": {canary: "too long " * 400}}, {"label_descriptions": canary},
        {"metadata": {"contributing_detectors": [canary]}},
        {"metadata": {"normalized_scores": {canary: 0.5}}},
        {"metadata": {"normalized_scores": {canary: 7}}},
        {"metadata": {"normalized_scores": {"toxic": canary}}},
        {"metadata": {"aggregation_method": canary}}, {"metadata": {"coverage_achieved": canary}},
        {"metadata": {"conflict_resolution_applied": canary}},
        {"metadata": {"provenance": [{"detector": canary, "confidence": 0.5}]}},
        {"metadata": {"provenance": [{"detector": "presidio", "output": canary}]}},
        {"metadata": {"provenance": [{"detector": "presidio", "output": {canary: canary}}]}},
        {"metadata": {"provenance": [{"detector": "presidio", canary: 1}]}},
        {"metadata": {canary: canary}}, {canary: canary}, {"output": 7, canary: 1},
    )  # fmt: skip
    for change in changes:
        yield {**base, **change}


def send_items(service: Service, canary: str) -> list[Any]:
    """All of `outputs` and `fields` by batches, the fields by themselves too: the answers."""
    items = [*outputs(canary), *fields(canary), canary, [canary]]
    answers = []
    for start in range(0, len(items), 250):
        once = str(uuid.uuid4())  # so that the answer is kept
        status, body = service.call(
            "POST", "/map/batch", {"requests": items[start : start + 250]}, Idempotency_Key=once
        )
        assert status == 200, body
        answers.append(body)
    for item in fields(canary):
        status, body = service.call("POST", "/map", item, Idempotency_Key=str(uuid.uuid4()))
        assert status in (200, 403, 422), body
        answers.append(body)
    return answers


def send_bodies(service: Service, canary: str) -> set[int]:
    """Bodies that are refused, or are not of /map: the statuses."""
    text = json.dumps(canary)
    limit = 8_388_608
    bodies = (
        text, f'{{"detector": "presidio", "output": {text}', f"{{{text}", canary, f"[{text}]",
        f'{{"requests": {text}}}', f'{{"requests": [{text}], {text}: 1}}',
        f'{{"detector": {text}, "output": "{"x" * 70_000}"}}',
        f'{{"detector": "presidio", "output": {"[" * 40}{text}{"]" * 40}}}',
        f'{{"framework": {text}, "period_start": {text}, "period_end": {text}, {text}: 1}}',
        f'{{"framework": "soc2", "period_start": "2026-01-01", "period_end": {text}}}',
    )  # fmt: skip
    key = f"Bearer {service.key}"
    seen = set()
    for path in ("/map", "/map/batch", "/reports"):
        for body in (*bodies, text + " " * limit if path == "/map" else text):
            for kind in ("application/json", "application/x-www-form-urlencoded"):
                status, _, _ = service.ask(
                    "POST", path, body.encode(), Authorization=key, Content_Type=kind,
                    Idempotency_Key=str(uuid.uuid4()),
                )  # fmt: skip
                seen.add(status)
    return seen


def send_headers(service: Service, canary: str) -> set[int]:
    """Every header field with the canary, on the paths that do something."""
    body = json.dumps({"detector": "presidio", "output": "x"}).encode()
    seen = set()
    for name in HEADERS:
        for value in (canary, f"Bearer {canary}", f"{canary}=1", quote_plus(canary)):
            for method, path in (("POST", "/map"), ("GET", "/events"), ("GET", "/admin/login/")):
                given = {
                    "Authorization": f"Bearer {service.key}",
                    "Content_Type": "application/json",
                    "Idempotency_Key": str(uuid.uuid4()),
                    name.replace("-", "_"): value,
                }
                status, _, _ = service.ask(
                    method, path, body if method == "POST" else None, **given
                )
                seen.add(status)
    seen.add(service.ask("GET", "/events", Host=f"{quote_plus(canary)}.localhost")[0])
    method = re.sub(r"[^A-Za-z]", "", canary)[:40] or "QUUX"
    seen.add(service.ask(method, "/", Authorization=f"Bearer {service.key}")[0])
    return seen


def send_addresses(service: Service, canary: str) -> set[int]:
    """Query strings of every path, and paths."""
    word = quote(canary, safe="")
    paths = [
        f"{path}?{query}"
        for path in API_PATHS
        for query in (word, f"{word}={word}", urlencode({"q": canary, "limit": canary}))
    ]
    for prefix in ("", "/api/v1"):
        paths += [f"{prefix}/events?{name}={word}" for name in PARAMETERS]
        paths += [f"{prefix}/reports?{name}={word}" for name in ("cursor", "limit")]
        paths += [
            f"{prefix}/{before}{word}"
            for before in ("", "map/", "events/", "reports/", f"reports/{uuid.UUID(int=7)}/",
                           "health/", "docs/", "static/", "admin/", "admin/login/?next=/")
        ]  # fmt: skip
    key = f"Bearer {service.key}"
    seen = set()
    for path in paths:
        for method in ("GET", "POST"):
            seen.add(service.ask(method, path, Authorization=key, Content_Type="text/plain")[0])
    return seen


class Person:
    """A browser at an admin."""

    def __init__(self, service: Service, host: str) -> None:
        self.service = service
        self.host = host
        self.cookies: dict[str, str] = {}

    @classmethod
    def logged_in(cls, service: Service, login: Login) -> "Person":
        """Somebody who has logged in."""
        person = cls(service, login.base.split("://", 1)[1])
        form = {"username": login.username, "password": login.password, "next": "/admin/"}
        assert person.post("/admin/login/", form) == 302
        return person

    def get(self, path: str) -> int:
        """Open a page."""
        return self._send("GET", path)[0]

    def post(self, path: str, form: dict[str, Any]) -> int:
        """Send a form as the page would."""
        if "csrftoken" not in self.cookies:
            self.get("/admin/login/")
        fields = {**form, "csrfmiddlewaretoken": self.cookies["csrftoken"]}
        return self._send("POST", path, urlencode(fields, doseq=True).encode())[0]

    def _send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        status, answer, headers = self.service.ask(
            method, path, body, Host=self.host, Cookie=cookie or "none=1",
            Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        for name, value in headers:
            if name.lower() == "set-cookie":
                self.cookies.update({k: m.value for k, m in SimpleCookie(value).items()})
        return status, answer


TENANT_LISTS = (
    "mapping/mappingevent", "mapping/knowledgepin", "mapping/thresholdoverride",
    "mapping/reviewitem", "mapping/labeldecision", "reporting/report", "keys/apikey", "users/user",
    "auth/group", "audit/auditentry", "mapping/migrationrun", "taxonomy/label",
    "taxonomy/detectormap", "taxonomy/control",
)  # fmt: skip
PLATFORM_LISTS = (
    "tenants/tenant", "keys/apikey", "users/user", "audit/auditentry", "switch/modechoice",
    "serving/servingchoice",
    "changes/suggestion",
)  # fmt: skip


def send_searches(person: Person, lists: tuple[str, ...], canary: str) -> set[int]:
    """Search boxes, filters, addresses and refused forms of an admin."""
    word = quote(canary, safe="")
    seen = {person.get(f"/admin/search/?s={word}"), person.get(f"/admin/?q={word}")}
    for page in lists:
        for query in (f"q={word}&p={word}", f"id__exact={word}&{word}={word}"):
            seen.add(person.get(f"/admin/{page}/?{query}"))
        seen.add(person.get(f"/admin/{page}/{word}/change/"))
    seen.add(person.post("/admin/keys/apikey/add/", {"name": canary * 8, "scopes": [canary]}))
    seen.add(person.post("/admin/keys/apikey/add/", {"name": canary, "expires_on": canary}))
    form = {"framework": canary, "period_start": canary, "period_end": canary}
    seen.add(person.post("/admin/reporting/report/add/", form))
    for page in ("choose", "kill-switch/on", "kill-switch/off"):  # not confirmed, so refused
        form = {"mode": canary, "reason": canary, "confirm": ""}
        seen.add(person.post(f"/admin/switch/modechoice/{page}/", form))
    for page, form in (
        ("every-label", {"value": canary, "note": canary}),
        ("detector", {"value": "0.5", "detector": canary, "note": canary}),
        ("detector", {"value": "0.5", "other": canary}),
        ("branch", {"value": "0.5", "branch": canary, "note": canary}),
    ):
        seen.add(person.post(f"/admin/mapping/thresholdoverride/set/{page}/", form))
    review = {"item": canary, "canonical": [canary], "note": canary, "replaces": canary}
    seen.add(person.post("/admin/mapping/reviewitem/decide/", review))
    filters = {"item": canary, "_changelist_filters": canary}
    seen.add(person.get(f"/admin/mapping/reviewitem/decide/?{urlencode(filters)}"))
    for step in (f"mapping/reviewitem/{word}/dismiss", f"mapping/labeldecision/{word}/withdraw",
                 f"mapping/labeldecision/{uuid.UUID(int=7)}/suggest",
                 f"changes/suggestion/{uuid.UUID(int=7)}/decline"):  # fmt: skip
        seen.add(person.post(f"/admin/{step}/", {"note": canary, "answer": canary}))
    pins = "/admin/mapping/knowledgepin"
    choice = {"note": canary, "seen": canary, "newest": canary}
    for page, form in (
        ("pin", choice), ("pin", {"note": canary, "seen": 99_999, "newest": 99_999}),
        ("preview/1", {"note": canary * 40, "seen": 1, "newest": 1}), (f"preview/{word}", choice),
    ):  # fmt: skip
        seen.add(person.post(f"{pins}/{page}/", form))
    return seen


def send_login(service: Service, host: str, canary: str) -> int:
    """Somebody types the text where name and password belong."""
    stranger = Person(service, host)
    return stranger.post(
        "/admin/login/", {"username": canary, "password": canary, "next": f"/{canary}"}
    )
