"""Publishing, at once or at a time; rolling back; what the next load of the files does."""

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from mapping.engine import DetectorOutput
from mapping.pins import pin_release
from mapping.selectors import engine_in_force, forget_engine
from taxonomy.changes import services
from taxonomy.changes.errors import ChangeError, StaleChangeSetError
from taxonomy.changes.models import State
from taxonomy.changes.publishing import manifest_is_intact, publish, publish_due, roll_back
from taxonomy.models import DetectorMap, KnowledgeRelease
from taxonomy.objects import ObjectKey, ObjectKind
from taxonomy.selectors import current_release
from tenants.context import tenant_context
from tests.changes.conftest import EMAIL_KEY, SSN_KEY, in_force
from tests.support.knowledge import next_version, versions

pytestmark = pytest.mark.django_db


def released() -> KnowledgeRelease:
    """The release in force."""
    release = current_release()
    assert release is not None
    return release


def severity_of_a_number() -> str:
    """What the engine in force says of a found US_SSN."""
    forget_engine()
    output = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.9}]
    result = engine_in_force().engine.map(
        DetectorOutput("presidio", output), hash_text=lambda text: "0" * 32
    )
    return str(result.severity)


def decided(alice: Any, *people: Any, key: ObjectKey, after: Any, **more: Any) -> Any:
    """A change set of one edit, approved by the people."""
    change_set = services.start(title="A change", reason="For a test.", author=alice)
    services.edit(number=change_set.number, key=key, after=after, editor=alice)
    change_set.refresh_from_db()
    if more:
        services.describe(
            number=change_set.number, title="A change", reason="For a test.", editor=alice,
            revision=change_set.revision, **more,
        )  # fmt: skip
        change_set.refresh_from_db()
    services.submit(number=change_set.number, editor=alice, revision=change_set.revision)
    for one in people:
        services.approve(number=change_set.number, approver=one, revision=change_set.revision)
    change_set.refresh_from_db()
    return change_set


def test_published_answers_change_and_the_manifest_tells_who(approved: Any, bob: Any) -> None:
    before = released()
    assert severity_of_a_number() == "high"
    publication = publish(number=approved.number, person=bob, revision=approved.revision)
    assert severity_of_a_number() == "critical"
    release = released()
    assert release.serial == before.serial + 1
    assert publication.release == release
    assert manifest_is_intact(publication)
    manifest = publication.manifest
    assert manifest["author"] == "user:alice"
    assert [one["by"] for one in manifest["approvals"]] == ["user:bob"]
    assert manifest["new"] == ["detectors/presidio.yaml"]
    assert manifest["replaces"] == {"serial": before.serial, "sha256": before.sha256}
    assert {
        name: value
        for entry in manifest["editions"]
        if entry["edition"].startswith("presidio ")
        for name, value in entry.items()
        if name != "sha256"
    } == {"edition": f"presidio {next_version('presidio')}", "kind": "detector"}
    assert before.detectors.count() == release.detectors.count()
    kept = set(before.detectors.values_list("pk", flat=True))
    assert len(kept - set(release.detectors.values_list("pk", flat=True))) == 1


def test_rolled_back_is_the_release_before_again(approved: Any, bob: Any) -> None:
    before = released()
    publish(number=approved.number, person=bob, revision=approved.revision)
    with pytest.raises(ChangeError, match="Say why"):
        roll_back(number=approved.number, person=bob, reason="", revision=approved.revision)
    publication = roll_back(
        number=approved.number, person=bob, reason="Too many alarms.", revision=approved.revision
    )
    release = released()
    assert release.sha256 == before.sha256  # the very same editions
    assert release.serial == before.serial + 2
    assert severity_of_a_number() == "high"
    assert publication.manifest["note"] == "Too many alarms."
    approved.refresh_from_db()
    assert approved.state == State.ROLLED_BACK
    with pytest.raises(ChangeError, match="this is for one that is published"):
        roll_back(number=approved.number, person=bob, reason="x", revision=approved.revision)


def test_a_later_change_of_something_else_stays(approved: Any, alice: Any, bob: Any) -> None:
    publish(number=approved.number, person=bob, revision=approved.revision)
    phone = ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "PHONE_NUMBER")
    after = {**(in_force(phone) or {}), "severity": "high"}
    later = decided(alice, bob, key=phone, after=after)
    publish(number=later.number, person=bob, revision=later.revision)
    roll_back(number=approved.number, person=bob, reason="No.", revision=approved.revision)
    assert (in_force(phone) or {})["severity"] == "high"
    assert (in_force(SSN_KEY) or {}).get("severity") != "critical"
    assert DetectorMap.objects.filter(detector="presidio").count() == 4


def test_a_later_change_of_the_same_thing_must_go_first(
    approved: Any, alice: Any, bob: Any
) -> None:
    publish(number=approved.number, person=bob, revision=approved.revision)
    later = decided(
        alice, bob, key=SSN_KEY, after={"canonical": "PII.Identifier.SSN", "severity": "low"}
    )
    publish(number=later.number, person=bob, revision=later.revision)
    with pytest.raises(StaleChangeSetError, match="Roll the later change set back first"):
        roll_back(number=approved.number, person=bob, reason="No.", revision=approved.revision)


def test_two_change_sets_on_one_file_do_not_undo_each_other(alice: Any, bob: Any) -> None:
    phone = ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "PHONE_NUMBER")
    first = decided(alice, bob, key=SSN_KEY, after={"unmapped": "a test wants it so"})
    second = decided(
        alice, bob, key=phone, after={**(in_force(phone) or {}), "severity": "critical"}
    )
    publish(number=first.number, person=bob, revision=first.revision)
    publish(number=second.number, person=bob, revision=second.revision)
    assert in_force(SSN_KEY) == {"unmapped": "a test wants it so"}
    assert (in_force(phone) or {})["severity"] == "critical"


def test_a_label_makes_an_edition_and_new_crosswalks(alice: Any, bob: Any) -> None:
    after = {**(in_force(EMAIL_KEY) or {}), "severity": "critical"}
    change_set = decided(alice, bob, key=EMAIL_KEY, after=after)
    before = released()
    publish(number=change_set.number, person=bob, revision=change_set.revision)
    release = released()
    edition = release.taxonomy.edition
    assert edition != before.taxonomy.edition
    assert release.taxonomy.labels.get(name="PII.Contact.Email").severity == "critical"
    versions = set(release.crosswalks.values_list("version", flat=True))
    assert versions == {f"{edition}.1"}
    assert set(release.detectors.values_list("pk")) == set(before.detectors.values_list("pk"))
    roll_back(number=change_set.number, person=bob, reason="No.", revision=change_set.revision)
    back = released()
    assert back.sha256 == before.sha256


def test_callers_may_stay_with_the_edition_before(
    alice: Any, bob: Any, acme: Any, api: Any
) -> None:
    """Also for a label that the further edition brings: it has the nearest old name."""
    change_set = services.start(title="Pagers", reason="Hospitals use them.", author=alice)
    services.edit_many(
        number=change_set.number,
        editor=alice,
        wanted={
            ObjectKey(ObjectKind.LABEL, "", "PII.Contact.Pager"): {
                "meaning": "The number of a pager.", "severity": "low", "aliases": ["pager"],
            },
            ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "PAGER"): {
                "canonical": "PII.Contact.Pager"
            },
        },
    )  # fmt: skip
    change_set.refresh_from_db()
    services.submit(number=change_set.number, editor=alice, revision=change_set.revision)
    services.approve(number=change_set.number, approver=bob, revision=change_set.revision)
    publish(number=change_set.number, person=bob, revision=change_set.revision)
    further = released().taxonomy.edition
    forget_engine()

    def answer(label: str, edition: str) -> tuple[list[str], str]:
        item = {
            "detector": "presidio", "taxonomy": edition,
            "output": [{"entity_type": label, "start": 0, "end": 9, "score": 0.9}],
        }  # fmt: skip
        found = api("POST", "/map", acme.key, json=item)
        assert found.status_code == 200, found.content
        return found.json()["taxonomy"], found.json()["version_info"]["taxonomy"]

    assert answer("US_SSN", "2026.11") == (["PII.Identifier.SSN"], "2026.11")
    assert answer("PAGER", further) == (["PII.Contact.Pager"], further)
    assert answer("PAGER", "2026.11") == (["PII.Other"], "2026.11")
    assert answer("US_SSN", "2025.09")[1] == "2025.09"


def test_a_new_label_with_a_rule_and_a_control(alice: Any, bob: Any, carol: Any) -> None:
    label = ObjectKey(ObjectKind.LABEL, "", "PII.Contact.Pager")
    change_set = services.start(title="Pagers", reason="Hospitals use them.", author=alice)
    services.edit_many(
        number=change_set.number,
        editor=alice,
        wanted={
            label: {
                "meaning": "The number of a pager.",
                "severity": "low",
                "aliases": ["pager"],
            },
            ObjectKey(ObjectKind.DETECTOR_LABEL, "presidio", "PAGER"): {
                "canonical": "PII.Contact.Pager"
            },
            ObjectKey(ObjectKind.CROSSWALK_ROW, "soc2@2017", "PII.Contact.Pager → CC6.1"): {
                "relationship": "intersects", "evidence": "supporting", "strength": 3,
                "rationale": "Shows that access to personal data let it through.",
            },
        },
    )  # fmt: skip
    change_set.refresh_from_db()
    services.submit(number=change_set.number, editor=alice, revision=change_set.revision)
    for one in (bob, carol):
        services.approve(number=change_set.number, approver=one, revision=change_set.revision)
    publish(number=change_set.number, person=bob, revision=change_set.revision)
    assert in_force(label)
    forget_engine()
    result = engine_in_force().engine.map(
        DetectorOutput("presidio", [{"entity_type": "PAGER", "score": 0.9}]),
        hash_text=lambda text: "0" * 32,
    )
    assert list(result.taxonomy) == ["PII.Contact.Pager"]


def test_a_detector_comes_and_goes_with_its_labels(alice: Any, bob: Any) -> None:
    gone = ObjectKey(ObjectKind.DETECTOR, "whispers", "")
    change_set = decided(alice, bob, key=gone, after=None)
    before = released()
    publish(number=change_set.number, person=bob, revision=change_set.revision)
    release = released()
    assert not release.detectors.filter(detector="whispers").exists()
    roll_back(number=change_set.number, person=bob, reason="Needed.", revision=change_set.revision)
    back = released()
    assert back.sha256 == before.sha256


class TestADetectorThatGoes:
    """Its labels, which others may be changing, go with it."""

    GONE = ObjectKey(ObjectKind.DETECTOR, "whispers", "")
    NEW = ObjectKey(ObjectKind.DETECTOR_LABEL, "whispers", "brand_new")
    MEANS: ClassVar = {"canonical": "PII.Other"}

    def test_a_label_for_it_is_stale(self, alice: Any, bob: Any) -> None:
        removal = decided(alice, bob, key=self.GONE, after=None)
        waiting = decided(alice, bob, key=self.NEW, after=self.MEANS)
        publish(number=removal.number, person=bob, revision=removal.revision)
        with pytest.raises(StaleChangeSetError, match="whispers: brand_new"):
            publish(number=waiting.number, person=bob, revision=waiting.revision)

    def test_a_label_that_came_meanwhile_is_not_lost(self, alice: Any, bob: Any) -> None:
        removal = decided(alice, bob, key=self.GONE, after=None)
        added = decided(alice, bob, key=self.NEW, after=self.MEANS)
        publish(number=added.number, person=bob, revision=added.revision)
        with pytest.raises(StaleChangeSetError, match="whispers: brand_new"):
            publish(number=removal.number, person=bob, revision=removal.revision)
        number = removal.number
        back = services.send_back(
            number=number, text="A label came.", person=bob, revision=removal.revision
        )
        services.refresh(number=number, editor=alice, revision=back.revision)
        back.refresh_from_db()
        services.submit(number=number, editor=alice, revision=back.revision)
        services.approve(number=number, approver=bob, revision=back.revision)
        before = released()
        publish(number=number, person=bob, revision=back.revision)
        roll_back(number=number, person=bob, reason="No.", revision=back.revision)
        assert released().sha256 == before.sha256

    def test_rolling_back_a_detector_does_not_take_a_later_label(
        self, alice: Any, bob: Any
    ) -> None:
        shape = in_force(self.GONE)
        assert shape is not None
        key = self.GONE._replace(document="murmurs")
        change_set = services.start(title="Murmurs", reason="A new one.", author=alice)
        services.edit_many(
            number=change_set.number, editor=alice,
            wanted={
                key: {**shape, "detector": "murmurs", "aliases": []},
                self.NEW._replace(document="murmurs"): self.MEANS,
            },
        )  # fmt: skip
        change_set.refresh_from_db()
        revision = change_set.revision
        services.submit(number=change_set.number, editor=alice, revision=revision)
        services.approve(number=change_set.number, approver=bob, revision=revision)
        publish(number=change_set.number, person=bob, revision=revision)
        later = self.NEW._replace(document="murmurs", name="later")
        added = decided(alice, bob, key=later, after=self.MEANS)
        publish(number=added.number, person=bob, revision=added.revision)
        with pytest.raises(StaleChangeSetError, match="murmurs: later"):
            roll_back(number=change_set.number, person=bob, reason="No.", revision=revision)

    def test_other_files_do_not_bring_it_back(
        self, alice: Any, bob: Any, folder: Path, edit: Any
    ) -> None:
        removal = decided(alice, bob, key=self.GONE, after=None)
        publish(number=removal.number, person=bob, revision=removal.revision)
        edit("detectors/presidio.yaml", *versions("presidio"))
        with pytest.raises(CommandError, match=r"whispers was taken out by a change set"):
            call_command("load_config", directory=folder, verbosity=0)
        (folder / "detectors" / "whispers.yaml").unlink()
        call_command("load_config", directory=folder, verbosity=0)
        assert in_force(self.GONE) is None


class TestAtATime:
    """Scheduled change sets."""

    def test_one_that_cannot_be_published_does_not_hold_up_the_others(
        self, alice: Any, bob: Any
    ) -> None:
        at = timezone.now() + timedelta(hours=2)
        gone = TestADetectorThatGoes
        removal = decided(alice, bob, key=gone.GONE, after=None)
        waiting = decided(
            alice, bob, key=SSN_KEY, after={"unmapped": "a test wants it so"}, effective_at=at
        )
        broken = decided(alice, bob, key=gone.NEW, after=gone.MEANS, effective_at=at)
        publish(number=removal.number, person=bob, revision=removal.revision)
        assert publish_due(now=at + timedelta(seconds=1)) == [waiting.number]
        broken.refresh_from_db()
        assert broken.state == State.DRAFT

    def test_published_when_due(self, alice: Any, bob: Any) -> None:
        at = timezone.now() + timedelta(hours=2)
        change_set = decided(
            alice, bob, key=SSN_KEY, after={"unmapped": "a test wants it so"}, effective_at=at
        )
        assert publish_due() == []
        assert publish_due(now=at + timedelta(seconds=1)) == [change_set.number]
        change_set.refresh_from_db()
        assert change_set.state == State.PUBLISHED
        assert change_set.publications.get().published_by == "system:schedule"

    def test_given_back_if_it_went_stale_meanwhile(self, alice: Any, bob: Any) -> None:
        at = timezone.now() + timedelta(hours=2)
        change_set = decided(
            alice, bob, key=SSN_KEY, after={"unmapped": "a test wants it so"}, effective_at=at
        )
        document = DetectorMap.objects.get(detector="presidio").document
        labels = {**document["labels"], "US_SSN": {"canonical": "PII.Other"}}
        _release_around(document | {"labels": labels, "version": "2026.11.9"})
        assert publish_due(now=at + timedelta(seconds=1)) == []
        change_set.refresh_from_db()
        assert change_set.state == State.DRAFT
        last = change_set.entries.last()
        assert last.actor == "system:schedule"
        assert "presidio: US_SSN" in last.text


def _release_around(document: dict[str, Any]) -> None:
    """A load of files with another presidio, while a change set waits."""
    from taxonomy import loading
    from taxonomy.documents import Document

    file = Document("detector", Path("presidio.yaml"), "presidio.yaml", document, {})
    base = released()
    rows = [
        row
        for row in loading.editions_of(base)
        if not (isinstance(row, DetectorMap) and row.detector == "presidio")
    ]
    loading.create_release(
        [*rows, loading.create_edition(file, {})], after=base, actor="system:test"
    )


class TestTheFilesAfterwards:
    """`load_config` runs at every start: it must not take back what was published."""

    def test_the_same_files_leave_it_in_force_unless_told_to_discard_it(
        self, approved: Any, bob: Any
    ) -> None:
        publish(number=approved.number, person=bob, revision=approved.revision)
        serial = KnowledgeRelease.objects.count()
        call_command("load_config", verbosity=0)
        assert KnowledgeRelease.objects.count() == serial
        assert severity_of_a_number() == "critical"
        call_command("load_config", discard_published=True, verbosity=0)
        assert severity_of_a_number() == "high"

    def test_changed_files_without_it_are_refused(
        self, approved: Any, bob: Any, folder: Path, edit: Any
    ) -> None:
        publish(number=approved.number, person=bob, revision=approved.revision)
        edit("detectors/whispers.yaml", *versions("whispers"))
        with pytest.raises(CommandError, match=r"presidio [0-9.]+ was published by a change"):
            call_command("load_config", directory=folder, verbosity=0)
        call_command("load_config", directory=folder, discard_published=True, verbosity=0)
        assert severity_of_a_number() == "high"

    def test_an_exported_bundle_brings_it_to_the_files(
        self, approved: Any, bob: Any, tmp_path: Path
    ) -> None:
        publish(number=approved.number, person=bob, revision=approved.revision)
        release = released()
        call_command("export_bundle", tmp_path / "b.zip", verbosity=0)
        call_command("import_bundle", tmp_path / "b.zip", verbosity=0)
        again = released()
        assert again == release


def test_impact_by_tenant(draft: Any, acme: Any, globex: Any, api: Any) -> None:
    from taxonomy.changes.impact import count_impact

    found = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.9}]
    other = [{"entity_type": "PHONE_NUMBER", "start": 0, "end": 11, "score": 0.9}]
    for output in (found, found, other):
        answer = api("POST", "/map", acme.key, json={"detector": "presidio", "output": output})
        assert answer.status_code == 200
    counted = count_impact(number=draft.number)
    by_tenant = {row["tenant"]: row for row in counted["tenants"]}
    assert by_tenant["acme"] == {
        "tenant": "acme", "events": 2, "rules": 1, "reports": 0, "pinned": 0,
    }  # fmt: skip
    assert by_tenant["globex"]["events"] == 0
    draft.refresh_from_db()
    assert draft.impact == counted
    with tenant_context(globex.tenant):
        pinned = pin_release(serial=released().serial, actor="user:admin").effective
    again = {row["tenant"]: row for row in count_impact(number=draft.number)["tenants"]}
    assert (again["acme"]["pinned"], again["globex"]["pinned"]) == (0, pinned)
    assert draft.impact_revision == draft.revision


def test_further_editions_are_numbered_whatever_the_month() -> None:
    from taxonomy.editing import _next_edition

    assert _next_edition("2026.11") == "2026.11.1"
    assert _next_edition("2026.11.1") == "2026.11.2"
    assert _next_edition("2027.01.9") == "2027.01.10"
    assert settings.KNOWLEDGE_DIR.is_dir()
