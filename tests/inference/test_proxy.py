"""The shield in front of vLLM, in real nginx: what it lets through, and what it does not."""

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.processes import random_port, wait_until
from deploy.local.state import REPOSITORY
from tests.inference.servers import Reply, Server, as_json

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def answer(method: str, path: str, body: Any) -> Reply:
    return as_json({"path": path})


class Shield:
    def __init__(self, port: int, behind: Server) -> None:
        self.port = port
        self.behind = behind

    def ask(self, method: str, path: str, body: str = "", key: str = "right-key") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            connection.putheader("Authorization", f"Bearer {key}")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode())
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def shield(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shield]:
    place = tmp_path_factory.mktemp("nginx")
    port = random_port()
    with Server(answer).running() as behind:
        keys = place / "keys.map"
        keys.write_text('"~^Bearer right-key$" 1;\n')
        shipped = (REPOSITORY / "deploy" / "vllm" / "nginx.conf").read_text()
        for old, new in (
            ("127.0.0.1:8000", behind.url.removeprefix("http://")),
            ("127.0.0.1:8001", f"127.0.0.1:{port}"),
            ("/etc/nginx/pillars-keys.map", str(keys)),
            ("/var/log/nginx/pillars-vllm.log", str(place / "access.log")),
        ):
            assert shipped.count(old) == 1, old
            shipped = shipped.replace(old, new)
        folders = "".join(
            f"{name}_temp_path {place / name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = place / "nginx.conf"
        main.write_text(
            f"daemon off; pid {place / 'pid'}; error_log {place / 'error.log'};\n"
            f"events {{}}\nhttp {{\n{folders}{shipped}\n}}\n"
        )
        assert NGINX is not None
        process = subprocess.Popen([NGINX, "-c", str(main), "-p", str(place)])
        shield = Shield(port, behind)

        def up() -> bool:
            try:
                return shield.ask("GET", "/health") == 200
            except OSError:
                return False

        try:
            assert wait_until(up, 10), (place / "error.log").read_text()
            yield shield
        finally:
            process.terminate()
            process.wait(10)
        assert "secret-prompt" not in (place / "access.log").read_text()


def test_what_pillars_needs_goes_through(shield: Shield) -> None:
    before = len(shield.behind.asked)
    assert shield.ask("POST", "/v1/chat/completions", '{"x": 1}') == 200
    assert shield.ask("GET", "/v1/models") == 200
    assert shield.ask("GET", "/health", key="") == 200
    paths = [path for _, path, _ in shield.behind.asked[before:]]
    assert paths == ["/v1/chat/completions", "/v1/models", "/health"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
        *(
            ("POST", path, 404)
            for path in (
                "/v1/completions",
                "/v1/load_lora_adapter",
                "/v1/unload_lora_adapter",
                "/v1/embeddings",
                "/invocations",
                "/tokenize",
                "/generative_scoring",
                "/pooling",
                "/score",
                "/pause",
                "/update_weights",
                "/sleep",
                "/v1/chat/completions/",
                "/v1/chat/completions/batch",
                "/V1/chat/completions",
                "/v1/chat/completions%00",
                "/v1/chat/completions;x",
            )
        ),
        ("GET", "/metrics", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/", 404),
    ],
)
def test_nothing_else_does(method: str, path: str, expected: int, shield: Shield) -> None:
    before = len(shield.behind.asked)
    assert shield.ask(method, path, "{}") in (expected, 400)
    assert len(shield.behind.asked) == before


def test_a_detour_reaches_the_written_address_alone(shield: Shield) -> None:
    for path in (
        "/invocations/../v1/models",
        "//v1//models",
        "/v1/%6dodels",
        "/v1/models?x=/pause",
    ):
        before = len(shield.behind.asked)
        assert shield.ask("GET", path) in (200, 400)
        reached = [asked.partition("?")[0] for _, asked, _ in shield.behind.asked[before:]]
        assert set(reached) <= {"/v1/models"}


def test_without_the_key(shield: Shield) -> None:
    before = len(shield.behind.asked)
    for key in ("", "wrong", "RIGHT-KEY", "right-key2", "x right-key"):
        assert shield.ask("POST", "/v1/chat/completions", "{}", key=key) == 401
        assert shield.ask("GET", "/v1/models", key=key) == 401
    assert len(shield.behind.asked) == before


def test_a_large_body(shield: Shield) -> None:
    assert shield.ask("POST", "/v1/chat/completions", '"secret-prompt' + "x" * 300_000 + '"') == 413
