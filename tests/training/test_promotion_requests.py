"""Promotions that a page asks for: carried out once, in time, or not at all."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pgtrigger
import pytest
from django.utils import timezone

from audit.models import AuditEntry
from tests.support import model_versions as made
from tests.support.threads import together
from tests.training.conftest import FolderServer, use_training_folder
from training import promotion, requests
from training.errors import VersionError
from training.models import ModelVersion, PromotionRequest


def asked_for(version: ModelVersion) -> PromotionRequest:
    return requests.request_promotion(version=version, reason="Sound", actor="user:bob")


@pytest.mark.django_db
class TestRequests:
    @pytest.fixture(autouse=True)
    def _on_this_server(self, server: FolderServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(promotion, "deployer_of_settings", lambda: server)

    def test_a_message_is_sent_and_carried_out_once(
        self, approved: Callable[..., Any], django_capture_on_commit_callbacks: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        sent: list[Any] = []
        monkeypatch.setattr(requests.queue, "dispatch", lambda *words, **more: sent.append(more))
        version = approved("0.2.0")
        with django_capture_on_commit_callbacks(execute=True):
            request = asked_for(version)
        assert sent == [{"expires": 600.0, "request_id": str(request.pk)}]
        assert not requests.send_again()  # a worker may have it
        PromotionRequest.objects.update(asked_at=timezone.now() - timedelta(seconds=20))
        assert requests.send_again()
        assert sent[1] == sent[0]
        done = requests.carry_out(request_id=request.pk)
        assert done is not None
        assert (done.state, done.message) == ("done", "")
        version.refresh_from_db()
        assert version.state == "live"
        last = version.transitions.order_by("-number").first()
        assert (last.actor, last.reason) == ("user:bob", "Sound")
        assert requests.carry_out(request_id=request.pk) is None
        assert not requests.send_again()

    def test_one_that_nobody_took_in_time_is_not_carried_out(
        self, approved: Callable[..., Any], server: FolderServer
    ) -> None:
        version = approved("0.2.0")
        late = asked_for(version)
        PromotionRequest.objects.update(asked_at=timezone.now() - timedelta(minutes=11))
        found = requests.last_request(version)
        assert found is not None
        assert (found.state, found.message) == ("refused", requests.LATE)
        again = asked_for(version)  # it does not stand in the way
        late.refresh_from_db()
        assert late.state == "refused"
        PromotionRequest.objects.filter(pk=again.pk).update(
            asked_at=timezone.now() - timedelta(minutes=11)
        )
        ended = requests.carry_out(request_id=again.pk)
        assert ended is not None
        assert ended.message == requests.LATE
        assert not server.asked

    def test_only_what_is_approved_is_asked_for_and_one_at_a_time(
        self, register: Callable[..., Any], approved: Callable[..., Any], server: FolderServer
    ) -> None:
        with pytest.raises(VersionError, match="only an approved version is promoted"):
            asked_for(register("0.2.0"))
        first, second = approved("0.3.0", seed=1), approved("0.4.0", seed=2)
        request = asked_for(first)
        with pytest.raises(VersionError, match="Another promotion is under way"):
            asked_for(second)
        server.break_at = "parity"
        ended = requests.carry_out(request_id=request.pk)
        assert ended is not None
        assert ended.state == "refused"
        assert "The server went away at parity" in ended.message
        first.refresh_from_db()
        assert first.state == "approved"
        asked_for(second)


@pytest.fixture
def people(committed: None) -> Iterator[tuple[Any, Any]]:
    """Two people, committed; they and everything of the test is taken away afterwards."""
    from access.users.models import User
    from mapping.serving.models import ServingChoice
    from training.models import ModelApproval, ModelTransition

    names = ("request-ann", "request-bob")
    yield tuple(User.objects.create_user(name, is_staff=True) for name in names)  # type: ignore[misc]
    with pgtrigger.ignore():
        for model in (
            PromotionRequest, ServingChoice, ModelApproval, ModelTransition, ModelVersion,
        ):  # fmt: skip
            model._default_manager.all().delete()
        AuditEntry.objects.filter(action__startswith="model_version.").delete()
        User.objects.filter(username__in=names).delete()


def test_two_workers_with_one_message(
    people: tuple[Any, Any], settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.services import approve, register_version

    class Slow(FolderServer):
        def deploy(self, version_folder: Path, name: str) -> None:
            super().deploy(version_folder, name)
            passed.wait(30)

    passed, server = threading.Event(), Slow(tmp_path / "server")
    monkeypatch.setattr(promotion, "deployer_of_settings", lambda: server)
    ann, bob = people
    use_training_folder(settings, tmp_path)
    made.data_set(tmp_path / "training")
    package = made.version(
        tmp_path / "packed", "mapper-lora@v0.2.0", tmp_path / "work", figures=made.evaluation()
    )
    version = approve(version=register_version(folder=package.folder, author=ann), person=bob)
    request = asked_for(version)

    def work() -> str:
        found = requests.carry_out(request_id=request.pk)
        if found is None:
            passed.set()
            return "left alone"
        return str(found.state)

    assert sorted(together([work, work])) == ["done", "left alone"]
    assert server.asked.count("deploy mapper-lora-0.2.0") == 1
