"""The benchmark. Its method is described in docs/performance.md."""

import argparse
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from deploy.local.broker import EmbeddedBroker
from deploy.local.postgres import EmbeddedPostgres
from tests.bench import client

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "pillars-detectors" / "examples" / "raw-outputs.jsonl"
ONE_LABEL = {"detector": "llama-guard-3", "output": "unsafe\nS1"}
# (name, path, items a request, connections)
CASES = [
    ("/map, one label", "/map", 1, 1),
    ("/map, one label", "/map", 1, 8),
    ("/map, one label", "/map", 1, 32),
    ("/map, shipped examples", "/map", 0, 8),
    ("/map/batch of 100, one label", "/map/batch", 100, 1),
    ("/map/batch of 100, one label", "/map/batch", 100, 4),
    ("/map/batch of 100, shipped examples", "/map/batch", -100, 4),
]
_PGBENCH_SCRIPT = """
INSERT INTO bench_commit (id, received_at, detector, labels, findings)
VALUES (gen_random_uuid(), now(), 'llama-guard-3', '{HARM.VIOLENCE.Physical}',
 '[{"source_label": "S1", "canonical": "HARM.CRIME.Violent", "confidence": 1.0}]');
"""


def main() -> None:
    """Start a stack of its own, measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="JSON report")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="pillars-bench-"))
    base.chmod(0o711)
    try:
        report = _measure(base, options.seconds)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    _print(report)
    print(f"\nWritten to {options.out}")


def _measure(base: Path, seconds: float) -> dict[str, Any]:
    postgres, broker = EmbeddedPostgres(base / "pg"), EmbeddedBroker(base / "broker")
    web: subprocess.Popen[bytes] | None = None
    try:
        postgres.start()
        broker.start()
        environment = _environment(base, postgres.url, broker.url)
        credentials = _prepare(environment, base)
        commits = {n: _commit_rate(postgres, n, seconds) for n in (1, 8)}
        web = _start_web(environment)
        port = int(environment["PILLARS_PORT"])
        key = credentials["tenants"][0]["api_key"]
        rows = [_case(web.pid, port, key, seconds, *case) for case in CASES]
    finally:
        if web is not None:
            web.terminate()
            web.wait(15)
        broker.stop()
        postgres.stop()
        postgres.delete()
    return {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "seconds_each": seconds,
        "postgres_commits_per_second": commits,
        "rows": rows,
    }


def _environment(base: Path, database: str, broker: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database,
        "REDIS_URL": broker,
        "PILLARS_SECRET_KEY": secrets.token_urlsafe(48),
        "PILLARS_STATE_DIR": str(base / "state"),
        "PILLARS_PORT": str(20_000 + secrets.randbelow(20_000)),
        "PILLARS__RATE_LIMITS__KEY_ITEMS_PER_MINUTE": "1000000000",
        "PILLARS__RATE_LIMITS__TENANT_ITEMS_PER_MINUTE": "1000000000",
        "PILLARS__OBSERVABILITY__LOG_LEVEL": "WARNING",
        "PYTHONPATH": os.pathsep.join((str(ROOT / "platform"), str(ROOT))),
    }


def _prepare(environment: dict[str, str], base: Path) -> Any:
    (base / "state" / "static").mkdir(parents=True)  # WhiteNoise warns where there is none
    for command in (["migrate_schemas", "--shared"], ["load_config"], ["demo_setup"]):
        subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return json.loads((base / "state" / "credentials.json").read_text())


def _commit_rate(postgres: EmbeddedPostgres, connections: int, seconds: float) -> float:
    """Durable single-row inserts a second by PostgreSQL's own pgbench: the ceiling."""
    import psycopg

    script = Path(tempfile.mkstemp(suffix=".sql")[1])
    script.write_text(_PGBENCH_SCRIPT)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bench_commit")
        connection.execute(
            "CREATE TABLE bench_commit (id uuid PRIMARY KEY, received_at timestamptz, "
            "detector text, labels text[], findings jsonb)"
        )
    done = subprocess.run(
        [str(postgres.tool("pgbench")), "-n", "-f", str(script), "-c", str(connections), "-j", "1",
         "-T", str(max(1, int(seconds))), postgres.url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    script.unlink()
    match = re.search(r"tps = ([\d.]+)", done.stdout)
    if match is None:
        raise SystemExit("pgbench printed no rate")
    return round(float(match[1]))


def _start_web(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    port = environment["PILLARS_PORT"]
    web = subprocess.Popen(
        [str(Path(sys.executable).parent / "granian"), "--interface", "wsgi", "--host", "127.0.0.1",
         "--port", port, "--workers", "1", "--blocking-threads", "8", "--no-ws",
         "pillars.wsgi:application"],
        cwd=ROOT, env=environment,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2):
                return web
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("The web server did not become ready.")


def _case(
    web: int, port: int, key: str, seconds: float, name: str, path: str, items: int,
    connections: int,
) -> dict[str, Any]:  # fmt: skip
    bodies = _bodies(items)
    load = client.Load(port, path, key, bodies, connections, seconds)
    client.run(client.Load(port, path, key, bodies, connections, 1.0))  # warm up
    before = _cpu_seconds(web)
    outcome = client.run(load)
    cpu = _cpu_seconds(web) - before
    per_request = max(1, abs(items))
    return {
        "name": name,
        "connections": connections,
        "requests_per_second": round(outcome.rate, 1),
        "items_per_second": round(outcome.rate * per_request, 1),
        "p50_ms": round(outcome.p50, 2),
        "p95_ms": round(outcome.p95, 2),
        "p99_ms": round(outcome.p99, 2),
        "server_cpu_ms_per_item": round(cpu * 1000 / max(1, outcome.requests * per_request), 4),
        "failures": outcome.failures,
    }


def _bodies(items: int) -> list[bytes]:
    if items == 1:
        return [json.dumps(ONE_LABEL).encode()]
    if items > 1:
        return [json.dumps({"requests": [ONE_LABEL] * items}).encode()]
    examples = client.example_items(str(EXAMPLES))
    if items == 0:
        return [json.dumps(item).encode() for item in examples]
    repeated = (examples * (-items // len(examples) + 1))[:-items]
    return [json.dumps({"requests": repeated}).encode()]


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children that live, from /proc."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(path.parent.name) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _print(report: dict[str, Any]) -> None:
    commits = report["postgres_commits_per_second"]
    print(f"PostgreSQL alone: {commits[1]}/s with 1 connection, {commits[8]}/s with 8\n")
    print(f"{'case':<38}{'conn':>5}{'req/s':>9}{'items/s':>10}{'p50':>8}{'p95':>8}{'p99':>8}"
          f"{'CPU ms/item':>13}{'failed':>8}")  # fmt: skip
    for row in report["rows"]:
        print(
            f"{row['name']:<38}{row['connections']:>5}{row['requests_per_second']:>9}"
            f"{row['items_per_second']:>10}{row['p50_ms']:>8}{row['p95_ms']:>8}{row['p99_ms']:>8}"
            f"{row['server_cpu_ms_per_item']:>13}{row['failures']:>8}"
        )


if __name__ == "__main__":
    main()
