"""Onboarding in the admin: from a vendor's list or a raw sample to a detector that answers."""

import html
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from mapping.onboarding.draft import MAX_ROWS, Draft
from mapping.onboarding.table import PAGE_ROWS
from mapping.selectors import forget_engine
from pillars.uploads import MAX_BYTES
from taxonomy.changes import services
from taxonomy.changes.models import ChangeSet, Edit
from taxonomy.changes.publishing import publish
from tests.changes.onboarding import (
    FIRST,
    HEAD,
    LIST,
    SECOND,
    THREAT,
    errors,
    first,
    labels_of,
    second,
    state_of,
)
from tests.privacy.canaries import CANARIES, Search

pytestmark = pytest.mark.django_db


def mapped(change_set: ChangeSet, *approvers: Any) -> Callable[[Any], Any]:
    """Publish, and give a function that maps an output of zebra-guard."""
    from mapping.engine import DetectorOutput
    from mapping.selectors import engine_in_force

    services.submit(
        number=change_set.number, editor=change_set.author, revision=change_set.revision
    )
    for one in approvers:
        services.approve(number=change_set.number, approver=one, revision=change_set.revision)
    publish(number=change_set.number, person=approvers[0], revision=change_set.revision)
    forget_engine()
    engine = engine_in_force().engine
    return lambda output: engine.map(
        DetectorOutput("zebra-guard", output), hash_text=lambda text: "0" * 32
    )


class TestFromAListToAnswers:
    def test_by_the_pages(self, curator: Client, bob: Any, api: Any, acme: Any) -> None:
        page = first(curator, label_list=LIST + THREAT)
        assert labels_of(page) == {
            "ZX-81": "", "Menaces v2": "HARM.SPEECH.Threat",
            "EMAIL_ADDRESS": "PII.Contact.Email", "Bank-Account": "PII.Financial.BankAccount",
        }  # fmt: skip
        # First what is to be decided, then what retrieval chose, then what a name did.
        assert list(labels_of(page))[:2] == ["ZX-81", "Menaces v2"]
        answer = second(curator, page, {
            "ZX-81": ("=not_a_finding", "A home computer, not a finding"),
            "Menaces v2": "PII.Other",
        })  # fmt: skip
        assert answer.status_code == 302
        made = ChangeSet.objects.get()
        assert answer.url == f"/admin/changes/changeset/{made.number}/change/"
        assert "Add zebra-guard" in curator.get(answer.url).content.decode()
        assert {edit.name: edit.after for edit in made.edits.filter(kind="detector_label")} == {
            "EMAIL_ADDRESS": {
                "canonical": "PII.Contact.Email", "meaning": "An e-mail address of a person",
            },
            "Bank-Account": {"canonical": "PII.Financial.BankAccount"},
            "ZX-81": {"not_a_finding": "A home computer, not a finding"},
            "Menaces v2": {
                "canonical": "PII.Other", "meaning": "Threats of violence against a person",
            },
        }  # fmt: skip
        head = made.edits.get(kind="detector").after
        assert head["vendor"] == "ACME: a & b"
        assert head["recipes"] == []
        answers = mapped(made, bob)
        assert answers(["EMAIL_ADDRESS", "ZX-81"]).taxonomy == ("PII.Contact.Email",)
        assert answers("ZX-81").decision == "safe"
        body = {"detector": "zebra-guard", "output": {"EMAIL_ADDRESS": 0.93}}
        found = api("POST", "/map", acme.key, json=body).json()
        assert found["taxonomy"] == ["PII.Contact.Email"]
        assert found["version_info"]["detector_map"] == "2026.11.1"

    @pytest.mark.parametrize("text", [
        "EMAIL_ADDRESS\nZX-81\n", '["EMAIL_ADDRESS", "ZX-81"]', "- EMAIL_ADDRESS\n- ZX-81\n",
        '{"labels": [{"name": "EMAIL_ADDRESS"}, {"name": "ZX-81"}]}',
        "EMAIL_ADDRESS: an address\nZX-81: ''\n", "id;definition\nEMAIL_ADDRESS;x y\nZX-81;\n",
    ])  # fmt: skip
    @pytest.mark.parametrize("encoding", ["", "utf-8-sig", "utf-16"])
    def test_every_form(self, curator: Client, text: str, encoding: str) -> None:
        given: dict[str, Any] = {"label_list": text}
        if encoding:
            given = {"label_file": SimpleUploadedFile("l.txt", text.encode(encoding))}
        assert labels_of(first(curator, **given)).keys() == {"EMAIL_ADDRESS", "ZX-81"}

    def test_repetitions_and_what_is_no_name(self, curator: Client) -> None:
        page = first(curator, label_list="\n".join((
            "EMAIL_ADDRESS", "EMAIL_ADDRESS", "=SUM(A1)", "@cmd", "+49 30 1234567",
            "I told the nurse that my knee hurts", "ZX-81",
        )))  # fmt: skip
        assert labels_of(page).keys() == {"EMAIL_ADDRESS", "ZX-81"}
        assert "1 repetition in the list passed over" in page
        assert "Left out, by their places in the list: 3, 4, 5, 6." in page
        assert "knee" not in page

    def test_scripts_stay_text(self, curator: Client) -> None:
        page = first(curator, label_list="label,description\nZX-81,<script>alert(1)</script>\n")
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;alert(1)" in page


class TestFromASample:
    SAMPLE = json.dumps({
        "request": "r-1",
        "results": [
            {"entity_type": "EMAIL_ADDRESS", "score": 0.9, "text": "zoe@quux-clinic.example"},
            {"entity_type": "ZX-81", "score": 0.2, "text": "a quoxilated knee"},
        ],
    })  # fmt: skip

    def test_its_shape_is_read_after_publication(self, curator: Client, bob: Any) -> None:
        page = first(curator, sample=self.SAMPLE)
        assert "Labels were found in: results[].entity_type." in page
        assert "The detector&#x27;s file reads the sample as expected, with a recipe" in page
        assert "quoxilated" not in page
        assert second(curator, page, {}, rest="on").status_code == 302
        made = ChangeSet.objects.get()
        assert made.edits.get(name="ZX-81").after == {"unmapped": "not decided yet"}
        result = mapped(made, bob)(self.SAMPLE)
        assert (result.decision, result.taxonomy) == ("mapped", ("PII.Contact.Email",))

    @pytest.mark.parametrize("sample", [
        '{"EMAIL_ADDRESS": 0.9, "ZX-81": 0.1}', "EMAIL_ADDRESS: 0.9\nZX-81: 0.1",
        '{"r": [{"label": "EMAIL_ADDRESS"}]}\n{"r": [{"label": "ZX-81"}]}\n{"r": []}',
        "[Finding(label='EMAIL_ADDRESS', n=1), Finding(label='ZX-81', n=2)]",
        '{"out": {"EMAIL_ADDRESS": {"detected": true}, "ZX-81": {"detected": false}}}',
        '{"x": [{"flags": {"EMAIL_ADDRESS": true, "ZX-81": false},'
        ' "scores": {"EMAIL_ADDRESS": 0.9, "ZX-81": 0.1}}]}',
        "label=EMAIL_ADDRESS at 1; label=ZX-81 at 9", "EMAIL_ADDRESS, ZX-81",
        '{"I told the nurse": [{"label": "EMAIL_ADDRESS"}, {"label": "ZX-81"}]}',
    ])  # fmt: skip
    def test_every_form(self, curator: Client, bob: Any, sample: str) -> None:
        page = first(curator, sample_file=SimpleUploadedFile("s.txt", sample.encode()))
        assert labels_of(page).keys() == {"EMAIL_ADDRESS", "ZX-81"}
        assert "reads the sample as expected" in page
        second(curator, page, {"ZX-81": "PII.Other"})
        answers = mapped(ChangeSet.objects.get(), bob)
        outputs = sample.split("\n") if sample.startswith('{"r"') else [sample]
        found = [label for output in outputs for label in answers(output).taxonomy]
        assert "PII.Contact.Email" in found
        assert "OTHER.ModelError" not in found

    def test_a_shape_that_would_not_be_read_is_told(self, curator: Client) -> None:
        sample = '{"EMAIL_ADDRESS": {"score": 0.9}, "ZX-81": {"score": 0.1}}'
        page = first(curator, sample=sample)
        assert "would not read this sample as expected" in page

    def test_with_a_list(self, curator: Client) -> None:
        page = first(curator, sample=self.SAMPLE, label_list=LIST)
        draft = Draft.restored(state_of(page))
        assert {row.label for row in draft.rows} == {"EMAIL_ADDRESS", "Bank-Account", "ZX-81"}
        assert draft.head is not None
        assert draft.head["recipes"]

    @pytest.mark.parametrize(("sample", "words"), [
        ("I told the nurse that my knee hurts.", "No labels were found in the sample"),
        ('{"error": {"message": "overloaded"}}', "states an error of the detector"),
        ("[" * 50_000, "no JSON, and a text of over"),
        ('{"a":' * 900 + "1" + "}" * 900, "No labels were found"),
        (json.dumps([{"label": "my knee hurts, and I am sad."}]), "none is plainly a name"),
        ("x" * 600_000, "over 500,000 characters"),
    ])  # fmt: skip
    def test_what_is_no_sample(self, curator: Client, sample: str, words: str) -> None:
        page = first(curator, sample=sample)
        assert any(words in error for error in errors(page)), errors(page)
        assert sample[:40] not in html.unescape(page)


class TestADetectorThatExists:
    def test_only_new_labels_go_in(self, curator: Client, bob: Any) -> None:
        page = first(
            curator, detector="Presidio", vendor="", category="", source="",
            label_list="US_SSN\nEMAIL_ADDRESS\nZZ_NEW\n",
        )  # fmt: skip
        assert labels_of(page).keys() == {"ZZ_NEW"}
        assert "2 labels known already" in page
        assert second(curator, page, {"ZZ_NEW": "PII.Other"}).status_code == 302
        edit = Edit.objects.get()
        assert (edit.kind, edit.document, edit.name) == ("detector_label", "presidio", "ZZ_NEW")

    def test_its_own_recipes_read_the_sample(self, curator: Client) -> None:
        sample = json.dumps([
            {"entity_type": name, "start": 0, "end": 3, "score": 0.9} for name in ("ZZ_A", "US_SSN")
        ])  # fmt: skip
        page = first(curator, detector="presidio", sample=sample)
        assert labels_of(page).keys() == {"ZZ_A"}
        assert "Read by the detector&#x27;s own recipes" in page

    def test_nothing_new(self, curator: Client) -> None:
        page = first(curator, detector="presidio", label_list="US_SSN\nus-ssn\n")
        assert "presidio knows all 2 labels already." in " ".join(errors(page))


class TestWhatIsRefused:
    @pytest.mark.parametrize(("fields", "words"), [
        ({}, "Give a list of labels, or a sample"),
        ({"label_list": "a", "detector": "../evil"}, "small letters, digits and hyphens"),
        ({"label_list": "a", "detector": "x" * 61}, "at most 60 characters"),
        ({"label_list": "a", "vendor": " "}, "This field is required"),
        ({"label_list": "a", "category": "everything"}, "Select a valid choice"),
        ({"label_list": "[]"}, "No labels were found"),
        ({"label_list": "I am sad today, and my knee hurts."}, "is plainly the name of a label"),
        ({"label_list": '{"label": "toxic", "text": "my quoxilated knee"}'}, "raw output"),
        ({"label_list": '[{"label": "toxic", "score": 0.9}]'}, "raw output"),
        ({"label_list": "label,text\ntoxic,my quoxilated knee\n"}, "raw output"),
        ({"label_list": "toxic: 0.9\nhate: 0.1\n"}, "raw output"),
        ({"label_list": "a: &x [lol]\nb: &y [*x,*x]\nc: [*y,*y]\n"}, ""),
        ({"label_list": "\n".join(f"label-{n}" for n in range(MAX_ROWS + 1))}, "more than 1,000"),
        ({"label_list": "\n".join(f"l{n}" for n in range(6_000))}, "Split the list"),
        ({"label_list": "ab\n" * 200_000}, "over 500,000 characters"),
        ({"label_list": "a\0b"}, "Null characters"),
    ])  # fmt: skip
    def test_at_the_first_page(self, curator: Client, fields: Any, words: str) -> None:
        page = first(curator, **fields)
        if words:
            assert any(words in error for error in errors(page)), errors(page)
        assert "quoxilated" not in page
        assert not ChangeSet.objects.exists()

    @pytest.mark.parametrize(("name", "content", "words"), [
        ("label_file", b"caf\xe9\n", "not text in UTF-8 or UTF-16"),
        ("label_file", b"\x89PNG\r\n\x1a\n\0\0", "not text in UTF-8 or UTF-16"),
        ("label_file", b"", "The file is empty"),
        ("sample_file", b"\xff\xfe\0", "not text in UTF-8 or UTF-16"),
        ("sample_file", b"x" * (MAX_BYTES + 1), "over 2 MB"),
    ])  # fmt: skip
    def test_files(self, curator: Client, name: str, content: bytes, words: str) -> None:
        page = first(curator, **{name: SimpleUploadedFile("x.bin", content)})
        assert any(words in error for error in errors(page)), errors(page)

    def test_both_text_and_file(self, curator: Client) -> None:
        page = first(curator, label_list="a", label_file=SimpleUploadedFile("x", b"b"))
        assert "not both" in " ".join(errors(page))

    def test_what_was_given_is_shown_again_but_the_sample(self, curator: Client) -> None:
        upload = SimpleUploadedFile("l.csv", LIST.encode())
        page = first(curator, vendor="", label_file=upload, sample='{"quoxilated": 0.9}')
        assert "Bank-Account," in page
        assert 'value="https://example.org/labels"' in page
        assert "quoxilated" not in page

    def test_rows_say_what_is_wrong_with_them(self, curator: Client) -> None:
        page = first(curator, label_list=LIST + THREAT)
        answer = second(curator, page, {
            "EMAIL_ADDRESS": "PII.Nothing", "Bank-Account": ("=unmapped", "no"),
            "Menaces v2": ("=not_a_finding", "A menace is no finding here"),
        })  # fmt: skip
        again = answer.content.decode()
        assert not ChangeSet.objects.exists()
        found = re.findall(r'id="error-(\d+)">([^<]+)<', again)
        assert dict(found) == {
            "0": "Choose a canonical label, or say that there is none.",
            "2": "That is no label of the taxonomy. Choose another.",
            "3": "Say why, in 5 to 200 characters.",
        }
        assert 'value="A menace is no finding here"' in again
        assert '<option value="=not_a_finding" selected>' in again
        assert 'value="Add zebra-guard"' in again

    def test_a_new_change_set_needs_words(self, curator: Client) -> None:
        page = first(curator, label_list="EMAIL_ADDRESS")
        again = second(curator, page, {}, title="", reason="").content.decode()
        assert again.count("This field is required.") == 2
        assert second(curator, page, {}, into="999999").status_code == 200
        everything_out = second(curator, page, {"EMAIL_ADDRESS": "=leave_out"})
        assert "Every label is left out" in everything_out.content.decode()
        assert not ChangeSet.objects.exists()

    def test_a_change_set_that_holds_the_detector(
        self, curator: Client, browse: Any, person: Any
    ) -> None:
        from access.users.roles import CURATOR

        page = first(curator, label_list="EMAIL_ADDRESS")
        assert second(curator, page, {}).status_code == 302
        other = browse(person("dora", CURATOR))
        again = second(other, page, {})
        assert "stands in the open change set" in again.content.decode()
        assert ChangeSet.objects.count() == 1  # the one begun for it is gone as well

    def test_a_state_of_somebody_else(self, curator: Client) -> None:
        page = first(curator, label_list="EMAIL_ADDRESS")
        for state in ("", "x", state_of(page)[:-2] + "aa"):
            answer = curator.post(SECOND, {"state": state, "go": "submit"})
            assert (answer.status_code, answer.url) == (302, FIRST)
        assert "Start again" in curator.get(FIRST).content.decode()


class TestManyLabels:
    def test_page_by_page(self, curator: Client) -> None:
        names = [f"zx-{number}" for number in range(250)]
        page = first(curator, label_list="\n".join(names))
        assert page.count('name="chosen-') == PAGE_ROWS
        answer = second(curator, page, {"zx-0": "PII.Other"}, go="3")
        third = answer.content.decode()
        assert third.count('name="chosen-') == 50
        assert labels_of(third)["zx-0"] == "PII.Other"
        answer = curator.post(SECOND, {
            "state": state_of(third), "page": "3", "go": "submit", "chosen-249": "PII.Other",
            "into": "new", "title": "Many", "reason": "There are many.",
        })  # fmt: skip
        again = answer.content.decode()
        assert "248 rows need a decision" in again
        assert "on pages 1, 2, 3" in again
        answer = curator.post(SECOND, {
            "state": state_of(again), "page": "3", "go": "submit", "rest": "on",
            "into": "new", "title": "Many", "reason": "There are many.",
        })  # fmt: skip
        assert answer.status_code == 302
        made = ChangeSet.objects.get()
        assert made.edits.count() == 251
        assert made.edits.get(name="zx-249").after == {"canonical": "PII.Other"}

    def test_into_a_draft(self, curator: Client, draft: Any) -> None:
        page = first(curator, label_list="EMAIL_ADDRESS", into=str(draft.number))
        assert f'<option value="{draft.number}" selected>' in page
        assert second(curator, page, {}, into=str(draft.number)).status_code == 302
        assert draft.edits.count() == 3
        more = first(curator, label_list="PHONE_NUMBER")
        assert second(curator, more, {}, into=str(draft.number), rest="on").status_code == 302
        assert draft.edits.count() == 4


class TestWhoMay:
    def test_nobody_else(self, browse: Any, bob: Any, person: Any, curator: Client) -> None:
        page = first(curator, label_list="EMAIL_ADDRESS")
        for someone in (bob, person("dave")):
            client = browse(someone)
            assert client.get(FIRST).status_code == 403
            assert client.post(FIRST, {**HEAD, "label_list": "a"}).status_code == 403
            assert client.get(SECOND).status_code == 403
            assert second(client, page, {}).status_code == 403
        stranger = Client(headers={"host": "localhost"})
        assert stranger.get(FIRST).status_code == 302
        assert not ChangeSet.objects.exists()

    def test_the_ways_to_it(self, curator: Client, draft: Any, browse: Any, bob: Any) -> None:
        change_set = curator.get(f"/admin/changes/changeset/{draft.number}/change/")
        assert f'href="{FIRST}?change_set={draft.number}"' in change_set.content.decode()
        for path in ("/admin/changes/changeset/", "/admin/taxonomy/detectormap/"):
            assert "Add a detector" in curator.get(path).content.decode()
            assert "Add a detector" not in browse(bob).get(path).content.decode()
            assert curator.get(f"{path}onboard/").url == FIRST
        from taxonomy.models import DetectorMap

        presidio = DetectorMap.objects.filter(detector="presidio").first()
        assert presidio
        answer = curator.get(f"/admin/taxonomy/detectormap/{presidio.pk}/add-labels/", follow=True)
        assert 'value="presidio"' in answer.content.decode()


def stored() -> bytes:
    """Every row of every table of every schema, as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        parts = []
        for schema, table in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{schema}"."{table}" t')
            parts += [row[0] or "" for row in cursor.fetchall()]
    return "\n".join(parts).encode()


class TestNothingOfASampleIsKept:
    def samples(self, canary: str) -> list[str]:
        return [
            canary,
            json.dumps({"results": [{"label": "EMAIL_ADDRESS", "text": canary}], canary: canary}),
            json.dumps([{"label": canary, "score": 0.9}, {"label": "ZX-81", "score": 0.9}]),
            json.dumps({canary: 0.9, "EMAIL_ADDRESS": 0.8}),
            json.dumps({canary: [{"label": "EMAIL_ADDRESS"}]}),
            json.dumps({"results": {canary: {"detected": True}, "ZX-81": {"detected": False}}}),
            json.dumps({"labels": [canary, "EMAIL_ADDRESS"]}),
            f"label=EMAIL_ADDRESS text={canary}", f"{canary}: 0.91\nEMAIL_ADDRESS: 0.2",
            '{"results": [{"label": "EMAIL_ADDRESS", "text": ' + json.dumps(canary),
        ]  # fmt: skip

    @pytest.mark.parametrize("name", [n for n in CANARIES if n != "name-in-prose"])
    def test_wherever_it_stands(
        self, curator: Client, name: str, caplog: Any, capsys: Any, tmp_path: Any
    ) -> None:
        caplog.set_level(logging.DEBUG)
        search = Search({name: CANARIES[name]})
        submitted = 0
        for number, sample in enumerate(self.samples(CANARIES[name][0])):
            upload = SimpleUploadedFile(f"{number}.json", sample.encode())
            ways = (
                {"sample_file": upload},
                {"sample": sample, "vendor": ""},
                {"label_list": sample},
            )
            for fields in ({"sample": sample}, ways[number % 3]):
                page = first(curator, **{**fields, "detector": f"d-{number}"})
                if "sample" in str(fields.keys()):
                    assert not list(search.look("page", html.unescape(page).encode())), number
                if "label_list" in fields or 'name="state"' not in page:
                    continue
                state = json.dumps(Draft.restored(state_of(page)).edits().__repr__())
                assert not list(search.look("state", state.encode()))
                answer = second(curator, page, {}, rest="on")
                submitted += answer.status_code == 302
        assert submitted > 3
        assert b"EMAIL_ADDRESS" in stored()
        assert not list(search.look("database", stored()))
        output = capsys.readouterr()
        logged = "\n".join((caplog.text, output.out, output.err))
        assert not list(search.look("log", logged.encode()))
