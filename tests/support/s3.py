"""A real S3 server for tests: SeaweedFS from its wheel, in a folder of its own, on loopback."""

import json
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY, SECRET = "pillars", "a-secret-of-the-tests"
_RIGHTS = ["Admin", "Read", "Write", "List", "Tagging"]
# Each of its servers also listens 10,000 above its port.
_GRPC = 10_000


def weed() -> str | None:
    """The program, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Its address, once it answers."""
    program = weed()
    assert program is not None
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    rights = {"identities": [{"name": KEY, "credentials": credentials, "actions": _RIGHTS}]}
    (folder / "s3.json").write_text(json.dumps(rights))
    (folder / "data").mkdir()
    master, volume, filer, s3 = _ports(4)
    command = [
        program, "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-admin.ui=false", "-webdav=false",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(process, s3, folder / "log")
        yield f"http://127.0.0.1:{s3}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def client(url: str) -> Any:
    """boto3's, with the server's keys."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
    )  # fmt: skip


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Until a bucket can be made: the ports open before that."""
    from botocore.exceptions import BotoCoreError, ClientError

    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-2_000:]
        try:
            client(f"http://127.0.0.1:{port}").create_bucket(Bucket="models")
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text(errors="replace")[-2_000:])


def _ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        if port not in found and all(_is_free(one) for one in (port, port + _GRPC)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
