"""Promotions at the same time: one wins, the others are told so."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pgtrigger
import pytest

from tests.support import model_versions as made
from tests.support.threads import together
from tests.training.conftest import FolderServer, use_training_folder
from training.errors import VersionError


class SlowServer(FolderServer):
    """Loads once somebody else has been refused, or nobody was for long."""

    refused: threading.Event

    def deploy(self, version_folder: Path, name: str) -> None:
        super().deploy(version_folder, name)
        self.refused.wait(30)


@pytest.fixture
def people(committed: None) -> Iterator[tuple[Any, Any]]:
    """Two people, committed; they and everything of the test is taken away afterwards."""
    from access.users.models import User
    from mapping.serving.models import ServingChoice
    from training.models import ModelApproval, ModelTransition, ModelVersion

    names = ("together-ann", "together-bob")
    yield tuple(User.objects.create_user(name, is_staff=True) for name in names)  # type: ignore[misc]
    with pgtrigger.ignore():
        for model in (ServingChoice, ModelApproval, ModelTransition, ModelVersion):
            model.objects.all().delete()
        User.objects.filter(username__in=names).delete()


def test_of_two_promotions_one_wins(people: tuple[Any, Any], settings: Any, tmp_path: Path) -> None:
    from mapping.serving.in_force import read_serving
    from training.promotion import promote
    from training.selectors import live_version
    from training.services import approve, register_version

    ann, bob = people
    use_training_folder(settings, tmp_path)
    made.data_set(tmp_path / "training")
    versions = []
    for number in (2, 3):
        package = made.version(
            tmp_path / "packed", f"mapper-lora@v0.{number}.0", tmp_path / "work",
            figures=made.evaluation(), seed=number,
        )  # fmt: skip
        registered = register_version(folder=package.folder, author=ann)
        versions.append(approve(version=registered, person=bob))
    server = SlowServer(tmp_path / "server")
    server.refused = threading.Event()

    def attempt(version: Any) -> str:
        try:
            return str(promote(version=version, reason="", actor="user:x", deployer=server))
        except VersionError as error:
            server.refused.set()
            return str(error)

    said = together([lambda version=version: attempt(version) for version in versions])
    won = [one for one in said if one.startswith("mapper-lora@")]
    assert len(won) == 1
    assert "Another promotion or rollback is under way" in next(
        one for one in said if one != won[0]
    )
    assert str(live_version()) == won[0]
    serving = read_serving()
    assert serving.live is not None
    assert serving.live.version == won[0]
