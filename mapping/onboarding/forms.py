"""The forms of onboarding: where a detector's labels come from, and where its edits go."""

import json
import re
from functools import cache
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from mapping.engine.detectors import fold_name
from mapping.engine.vocabulary import fold
from mapping.onboarding.draft import MAX_ROWS, Draft, known_labels, rows_for
from mapping.onboarding.lists import (
    OnboardingError,
    RawOutputError,
    Sifted,
    VendorLabel,
    read_entries,
    sift,
)
from mapping.onboarding.proposing import Proposals, proposals_of_release
from mapping.onboarding.samples import Sample, many, read_sample
from pillars.uploads import MAX_BYTES
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.validation import SCHEMAS

_NEEDED = ("vendor", "category", "source")  # of a detector that is new; others have them


@cache
def categories() -> list[str]:
    """What a detector can look for, as the schema of detector files has it."""
    path = settings.KNOWLEDGE_DIR / SCHEMAS / "detector.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    return list(schema["properties"]["category"]["enum"])


class _Unrepeated(UnfoldAdminTextareaWidget):
    """A text that a page never shows again: it may be raw output."""

    def format_value(self, value: Any) -> str:
        """Nothing."""
        return ""


def _text(label: str, help_text: str, size: int, **more: Any) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, max_length=size, widget=UnfoldAdminTextInputWidget, **more
    )


def _file(label: str, help_text: str) -> forms.FileField:
    return forms.FileField(
        label=label, help_text=help_text, required=False, allow_empty_file=True,
        widget=forms.FileInput({"class": "pl-file"}),
    )  # fmt: skip


class SourceForm(forms.Form):
    """A detector, and its labels as a list, a sample, or both. `draft` is made by is_valid()."""

    detector = _text(
        "Name",
        "As in requests: small letters, digits and hyphens, such as acme-guard. The name of a "
        "detector that exists adds labels to it, and the next four fields do not matter",
        60,
    )
    vendor = _text("Vendor", "Who makes it", 80, required=False)
    category = forms.ChoiceField(
        required=False, widget=UnfoldAdminSelectWidget, help_text="What it looks for"
    )
    detector_versions = _text(
        "Versions", "Of the detector, for which the labels hold", 300, required=False, initial="any"
    )
    source = _text(
        "Source", "The public document of its labels: title or address", 300, required=False
    )
    label_list = forms.CharField(
        required=False, strip=False,
        widget=UnfoldAdminTextareaWidget({"rows": 8, "spellcheck": "false"}),
        help_text="CSV with a header (label, description), JSON, YAML, or one label a line",
    )  # fmt: skip
    label_file = _file("or a file with the list", "CSV, JSON, YAML or text, in UTF-8 or UTF-16")
    sample = forms.CharField(
        required=False, strip=False, label="Sample of raw output",
        widget=_Unrepeated({"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
        help_text="JSON, JSON lines, label: score pairs or other text. It is read in memory and "
        "forgotten: only names of labels go on",
    )  # fmt: skip
    sample_file = _file("or a file with the sample", "Neither stored nor logged")

    draft: Draft
    proposals: Proposals
    _list_of_file = ""
    _thrown_away = False

    def __init__(
        self, data: Any = None, files: Any = None, *, documents: KnowledgeDocuments, **more: Any
    ) -> None:
        self.documents = documents
        super().__init__(data, files, **more)
        field = self.fields["category"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [("", "Choose…"), *((name, name) for name in categories())]
        self.existing = self._existing(str(self["detector"].value() or ""))
        for name in _NEEDED:
            self.fields[name].required = self.existing is None

    @property
    def sections(self) -> list[dict[str, Any]]:
        """The fields in groups, as the page shows them."""
        return [
            {"title": "The detector", "fields": [self[name] for name in list(self.fields)[:5]]},
            {"title": "Its labels", "intro": "A list, a sample, or both: a list names every "
             "label, a sample shows how outputs are read.",
             "fields": [self[name] for name in list(self.fields)[5:]]},
        ]  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Reads what was given, where the rest of the form is right."""
        data = super().clean() or self.cleaned_data
        texts = {name: self._given(name, f"{kind}_file") for name, kind in
                 (("label_list", "label"), ("sample", "sample"))}  # fmt: skip
        if not self.errors and not any(texts.values()):
            self.add_error("label_list", "Give a list of labels, or a sample of raw output.")
        if self.errors:
            return data
        sifted = self._read_list(texts["label_list"])
        sample = self._read_sample(texts["sample"])
        if not self.errors:
            self._draft(data, sifted, sample)
        return data

    def full_clean(self) -> None:
        """A browser sends no file twice: a list that came as one is shown as text after errors."""
        super().full_clean()
        if self.is_bound and self.errors and self._list_of_file and not self._thrown_away:
            self._show("label_list", self._list_of_file)

    def _existing(self, name: str) -> dict[str, Any] | None:
        """The file in force of a detector, by name or alias in any spelling."""
        folded = fold_name(name)
        for file in self.documents.detectors:
            if folded in {fold_name(one) for one in (file["detector"], *file.get("aliases", []))}:
                return file
        return None

    def clean_detector(self) -> str:
        """A name that exists in any spelling, or one that fits a new file."""
        name: str = self.cleaned_data["detector"]
        if self.existing is None and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise forms.ValidationError(
                "A name has small letters, digits and hyphens, such as acme-guard."
            )
        return name

    def _given(self, name: str, file_name: str) -> str:
        """The text of a field or of its file."""
        text: str = self.cleaned_data.get(name) or ""
        upload: UploadedFile[bytes] | None = self.cleaned_data.get(file_name)
        if upload is None:
            return text if text.strip() else ""
        if text.strip():
            self.add_error(file_name, "Give the text or the file, not both.")
            return ""
        if (upload.size or 0) > MAX_BYTES:
            self.add_error(file_name, f"The file is over {MAX_BYTES // 1_000_000} MB. Cut it down.")
            return ""
        content = decoded(upload.read())
        if content is None:
            self.add_error(file_name, "The file is not text in UTF-8 or UTF-16. Save it as UTF-8.")
            return ""
        if not content.strip():
            self.add_error(file_name, "The file is empty.")
        elif name == "label_list":
            self._list_of_file = content
        return content

    def _read_list(self, text: str) -> Sifted:
        if not text:
            return Sifted([], 0, [])
        try:
            sifted = sift(read_entries(text))
        except OnboardingError as error:
            if isinstance(error, RawOutputError):
                self._forget_list()
            self.add_error("label_list", str(error))
            return Sifted([], 0, [])
        if not sifted.labels:
            self._forget_list()
            self.add_error(
                "label_list",
                f"None of the {len(sifted.refused)} entries is plainly the name of a label: they "
                "look like sentences, personal data or formulas, and were thrown away.",
            )
        return sifted

    def _forget_list(self) -> None:
        """So that the page does not show it again."""
        self._thrown_away = True
        self._show("label_list", "")

    def _show(self, name: str, text: str) -> None:
        self.data = {**dict(self.data.items()), name: text}

    def _read_sample(self, text: str) -> Sample | None:
        if not text:
            return None
        try:
            return read_sample(text, self.documents.taxonomy, self.existing)
        except OnboardingError as error:
            self.add_error("sample", str(error))
            return None

    def _draft(self, data: dict[str, Any], sifted: Sifted, sample: Sample | None) -> None:
        """Make the draft, or say why there is nothing to make it of."""
        existing = self.existing
        labels = {label.label: label for label in sifted.labels}
        for name in sample.labels if sample else ():
            labels.setdefault(name, VendorLabel(name))
        known = known_labels(existing) if existing else set()
        new = [label for name, label in labels.items() if fold(name) not in known]
        if not new and existing:
            self.add_error(None, f"{existing['detector']} knows all {len(labels)} labels already.")
        elif len(new) > MAX_ROWS:
            self.add_error(
                None,
                f"{len(new):,} labels are more than {MAX_ROWS:,}, which is what one change set "
                "takes. Give them in parts: the first makes the detector, the others add to it.",
            )
        else:
            detector = existing["detector"] if existing else data["detector"]
            category = str((existing or data).get("category") or "")
            self.proposals = proposals_of_release(self.documents.serial, self.documents.taxonomy)
            self.draft = Draft(
                detector,
                None if existing else self._head(data, sample),
                rows_for(self.proposals, new, detector=detector, category=category),
                [*_notes(len(labels) - len(new), sifted), *_of_sample(sample)],
                _warnings(sifted, sample, new=existing is None),
                data["source"],
                category,
            )

    def _head(self, data: dict[str, Any], sample: Sample | None) -> dict[str, Any]:
        return {
            "detector": data["detector"],
            "vendor": data["vendor"],
            "category": data["category"],
            "detector_versions": data["detector_versions"] or "any",
            "sources": [data["source"]],
            "recipes": sample.recipes if sample else [],
        }


def decoded(content: bytes) -> str | None:
    """A file's text; None if it is in no encoding that says itself what it is."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _notes(known: int, sifted: Sifted) -> list[str]:
    notes = []
    if known:
        notes.append(f"{many(known, 'label')} known already: nothing of them changes.")
    if sifted.repeated:
        notes.append(f"{many(sifted.repeated, 'repetition')} in the list passed over.")
    return notes


def _of_sample(sample: Sample | None) -> list[str]:
    if sample is None:
        return []
    notes = [f"Sample: {sample.form}, {many(sample.outputs, 'output')}.", *sample.notes]
    if sample.read:
        how = "with a recipe made for its shape" if sample.recipes else "without a recipe"
        notes.append(f"The detector's file reads the sample as expected, {how}.")
    return notes


def _warnings(sifted: Sifted, sample: Sample | None, *, new: bool) -> list[str]:
    warnings = []
    if sifted.refused:
        places = ", ".join(map(str, sifted.refused[:20]))
        more = f" and {len(sifted.refused) - 20} more" if len(sifted.refused) > 20 else ""
        warnings.append(
            f"Left out, by their places in the list: {places}{more}. What stands there looks "
            "like a sentence, personal data or a formula. If it is a name, add it to "
            "the detector by “Add a rule” once this is published."
        )
    if sample is not None and not sample.read:
        warnings.append(
            "The detector's file would not read this sample as expected: such outputs would be "
            "answered with OTHER.ModelError or in part. Labels by themselves are read. Write a "
            "recipe for the shape in the detector's file, and load it."
        )
    if sample is None and new:
        warnings.append(
            "Without a sample the detector's file reads labels by themselves, joined, in a list, "
            "or as an object from label to score. Give a sample too if outputs look otherwise."
        )
    return warnings


class TargetForm(forms.Form):
    """Which change set the edits go into."""

    into = forms.ChoiceField(label="Change set", widget=UnfoldAdminSelectWidget)
    title = _text("Title", "Of a new change set", 120)
    reason = forms.CharField(
        max_length=2_000, widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Of a new change set. Approvers decide by it, and auditors read it later",
    )  # fmt: skip
    rest = forms.BooleanField(
        required=False,
        label="Leave undecided labels unmapped",
        widget=UnfoldBooleanSwitchWidget,
        help_text="They are answered as OTHER.Unknown until somebody decides",
    )

    def __init__(self, *args: Any, drafts: list[tuple[str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        field = self.fields["into"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [("new", "A new one"), *drafts]
        for name in ("title", "reason"):
            self.fields[name].required = self["into"].value() == "new"
