"""Adapters on a real worker: put there, loaded, lost and loaded again, refused."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapping.serving import deploy, tasks
from mapping.serving.deploy import DeployError
from mapping.serving.types import ServedModel
from tests.inference.servers import Server, as_json, worker_models
from tests.worker.running import KEY, RunningWorker

pytest.importorskip("torch", reason="the extra `model` is not installed")

from mapping.worker.weights import base_in, sha256_of
from tests.support.small_llama import write_adapter, write_base

Configure = Callable[..., None]


@pytest.fixture
def configured(settings: Any) -> Configure:
    def use(**changed: Any) -> None:
        values = {"backend": "embedded", **changed}
        section = settings.CONFIG.inference.model_copy(update=values)
        settings.CONFIG = settings.CONFIG.model_copy(update={"inference": section})

    return use


@pytest.mark.stack
class TestOnAWorker:
    @pytest.fixture(scope="class")
    def base(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_base(tmp_path_factory.mktemp("bases") / "tiny")

    @pytest.fixture(scope="class")
    def made(self, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("versions")
        for number in (1, 2):
            write_adapter(folder / f"mapper-{number}", base, seed=number)
        return folder

    @pytest.fixture
    def worker(
        self, base: Path, made: Path, tmp_path: Path, configured: Configure, settings: Any
    ) -> Iterator[RunningWorker]:
        adapters = tmp_path / "adapters"
        running = RunningWorker(
            *("--model-dir", str(base), "--adapter", str(made / "mapper-1")),
            *("--adapters", str(adapters), "--threads", "1"),
        )
        try:
            running.start()
            secret = type(settings.CONFIG.inference.api_key)(KEY)
            configured(url=running.url, api_key=secret, model="tiny", adapters=str(adapters))
            yield running
        finally:
            running.stop()

    def test_put_loaded_and_taken_away(
        self, worker: RunningWorker, made: Path, tmp_path: Path
    ) -> None:
        assert [one.name for one in deploy.loaded()] == ["mapper-1"]
        digest = sha256_of(made / "mapper-2" / "adapter_model.safetensors")
        for _ in range(2):  # safe to repeat
            assert deploy.load(name="mapper-2", folder=made / "mapper-2") == (
                "mapper-2",
                "tiny",
                digest,
            )
        assert [one.name for one in deploy.loaded()] == ["mapper-1", "mapper-2"]
        put = tmp_path / "adapters"
        assert sorted(path.name for path in put.iterdir()) == [".served.json", "mapper-2"]
        deploy.unload(name="mapper-2")
        deploy.unload(name="mapper-2")
        assert [one.name for one in deploy.loaded()] == ["mapper-1"]
        assert (put / "mapper-2").is_dir()

    def test_what_a_restart_has_lost_is_loaded_again(
        self, worker: RunningWorker, base: Path, made: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        deploy.load(name="mapper-2", folder=made / "mapper-2")
        model = ServedModel(
            "mapper@v2", "mapper-2", sha256_of(made / "mapper-2" / "adapter_model.safetensors"),
            "tiny", base_in(base).sha256, None,
        )  # fmt: skip
        monkeypatch.setattr(tasks, "models_to_keep", lambda: [model])
        assert tasks.sweep() == []
        worker.signal(signal.SIGKILL)
        worker.stop()
        (tmp_path / "adapters" / ".served.json").unlink()  # as vLLM, which remembers nothing
        worker.start()
        assert [one.name for one in deploy.loaded()] == ["mapper-1"]
        assert tasks.sweep() == ["mapper-2"]
        assert [one.name for one in deploy.loaded()] == ["mapper-1", "mapper-2"]

    def test_a_damaged_file_is_refused_with_the_servers_reason(
        self, worker: RunningWorker, made: Path, tmp_path: Path
    ) -> None:
        spoiled = shutil.copytree(made / "mapper-2", tmp_path / "spoiled")
        file = spoiled / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-64])
        with pytest.raises(DeployError, match=r"refuses 'mapper-3'.*damaged"):
            deploy.load(name="mapper-3", folder=spoiled)
        with pytest.raises(DeployError, match="another adapter under the name"):
            deploy.load(name="mapper-1", folder=made / "mapper-2")
        assert [one.name for one in deploy.loaded()] == ["mapper-1"]


class TestRefusals:
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Path:
        folder = tmp_path / "made"
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        return folder

    def test_by_a_server_that_cannot(self, configured: Configure, adapter: Path) -> None:
        configured(backend="tgi")
        with pytest.raises(DeployError, match="embedded worker and by vLLM alone"):
            deploy.load(name="mapper-2", folder=adapter)
        configured(url="http://127.0.0.1:9")
        with pytest.raises(DeployError, match="cannot be reached"):
            deploy.loaded()

    def test_vllm_without_the_switch(
        self, configured: Configure, adapter: Path, tmp_path: Path
    ) -> None:
        def respond(_method: str, path: str, _body: Any) -> Any:
            return as_json(worker_models()) if path == "/v1/models" else as_json({}, 404)

        with Server(respond).running() as server:
            configured(backend="vllm", url=server.url, adapters="")
            with pytest.raises(DeployError, match=r"set inference\.adapters"):
                deploy.load(name="mapper-2", folder=adapter)
            # The way for people's questions leads elsewhere.
            configured(
                backend="vllm", url="http://127.0.0.1:9", admin_url=server.url,
                adapters=str(tmp_path / "adapters"),
            )  # fmt: skip
            with pytest.raises(DeployError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
                deploy.load(name="mapper-2", folder=adapter)
            (_, path, body) = server.asked[-1]
            assert path == "/v1/load_lora_adapter"
            assert body == {
                "lora_name": "mapper-2", "lora_path": str(tmp_path / "adapters" / "mapper-2"),
            }  # fmt: skip

    def test_a_folder_that_cannot_be_written(
        self, configured: Configure, adapter: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with Server(lambda *_: as_json(worker_models())).running() as server:
            configured(url=server.url, adapters=str(tmp_path / "file" / "adapters"))
            with pytest.raises(DeployError, match="cannot be put into"):
                deploy.load(name="mapper-2", folder=adapter)

    def test_what_a_server_says_stands_in_one_line(
        self, configured: Configure, adapter: Path, tmp_path: Path
    ) -> None:
        said = json.dumps({"error": {"message": "no\n\x1b[31mroom" + "x" * 9_000}}).encode()

        def respond(_method: str, path: str, _body: Any) -> Any:
            if path == "/v1/models":
                return as_json(worker_models())
            return 400, "application/json", said

        with Server(respond).running() as server:
            configured(url=server.url, adapters=str(tmp_path / "adapters"))
            with pytest.raises(DeployError, match=r"status 400\): no  \[31mroom") as caught:
                deploy.load(name="mapper-2", folder=adapter)
        assert len(str(caught.value)) < 700
