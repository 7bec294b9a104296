"""People, folders and a model's server for the tests of versions."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import model_versions as made
from training.registry import read
from training.registry.deploy import DeployError


@dataclass
class FolderServer:
    """A server that loads adapters from files, and answers for those that it could read.

    `break_at`: the verb at which it stops, as a machine does that goes away.
    """

    place: Path
    loaded: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    break_at: str = ""

    def deploy(self, version_folder: Path, name: str) -> None:
        self._begin("deploy", name)
        if name not in self.loaded:
            shutil.copytree(version_folder, self.place / name)
            self.loaded[name] = read(self.place / name).adapter.sha256

    def undeploy(self, name: str) -> None:
        self._begin("undeploy", name)
        if self.loaded.pop(name, None):
            shutil.rmtree(self.place / name)

    def parity(self, name: str) -> None:
        self._begin("parity", name)
        if name not in self.loaded:
            raise DeployError(f"The server has not loaded {name}.")

    def _begin(self, verb: str, name: str) -> None:
        self.asked.append(f"{verb} {name}")
        if verb == self.break_at:
            raise DeployError(f"The server went away at {verb}.")


@pytest.fixture
def server(tmp_path: Path) -> FolderServer:
    return FolderServer(tmp_path / "server")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    from mapping.serving.in_force import forget_serving

    forget_serving()
    yield
    forget_serving()


@pytest.fixture
def person(db: None) -> Callable[..., Any]:
    """person(name, *roles): somebody of the platform."""
    from django.contrib.auth.models import Group

    from access.users.models import User
    from access.users.services import ensure_roles

    ensure_roles()

    def make(name: str, *roles: str) -> Any:
        user = User.objects.create_user(name, f"{name}@example.org", is_staff=True)
        user.groups.set(Group.objects.filter(name__in=roles))
        return user

    return make


@pytest.fixture
def ann(person: Any) -> Any:
    """Trains and registers; has the approver's role too."""
    from access.users.roles import MODEL_APPROVER, MODEL_ENGINEER

    return person("ann", MODEL_ENGINEER, MODEL_APPROVER)


@pytest.fixture
def bob(person: Any) -> Any:
    """Approves."""
    from access.users.roles import MODEL_APPROVER

    return person("bob", MODEL_APPROVER)


@pytest.fixture
def platform(settings: Any, tmp_path: Path) -> Path:
    """The training folder, with the data set; the server is one that runs the tests' base model."""
    use_training_folder(settings, tmp_path)
    made.data_set(tmp_path / "training")
    return tmp_path / "training"


def use_training_folder(settings: Any, tmp_path: Path) -> None:
    training = settings.CONFIG.training.model_copy(update={"folder": str(tmp_path / "training")})
    inference = settings.CONFIG.inference.model_copy(
        update={"backend": "embedded", "model": "SmolLM2-135M-Instruct", "adapter": ""}
    )
    settings.CONFIG = settings.CONFIG.model_copy(
        update={"training": training, "inference": inference}
    )


@pytest.fixture
def register(platform: Path, ann: Any, tmp_path: Path) -> Callable[..., Any]:
    """register("0.2.0", seed=1, figures=...): ann's version, evaluated unless figures are None."""
    from training.services import register_version

    def take(number: str, **more: Any) -> Any:
        given = {"figures": made.evaluation(), "seed": 0, **more}
        package = made.version(
            tmp_path / "packed", f"mapper-lora@v{number}", tmp_path / "work", **given
        )
        return register_version(folder=package.folder, author=ann)

    return take


@pytest.fixture
def approved(register: Callable[..., Any], bob: Any) -> Callable[..., Any]:
    """The same, approved by bob."""
    from training.services import approve

    def take(number: str, **more: Any) -> Any:
        return approve(version=register(number, **more), person=bob, comment="Sound")

    return take
