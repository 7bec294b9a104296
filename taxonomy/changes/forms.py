"""Forms of the change-set pages. Each edit form reads a thing from a file and writes one back."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from taxonomy.models import Disposition, Evidence, Relationship, Severity
from taxonomy.objects import ObjectKey, ObjectKind, edition_name, row_name
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.validation import canonical_labels

_LONG = UnfoldAdminTextareaWidget({"rows": 3})


class StartForm(forms.Form):
    """A new draft."""

    title = forms.CharField(
        max_length=120,
        widget=UnfoldAdminTextInputWidget,
        help_text="What changes, in a few words",
    )
    reason = forms.CharField(
        max_length=2_000,
        widget=_LONG,
        help_text="Why. Approvers decide by it, and auditors read it later",
    )


class DescribeForm(StartForm):
    """What a draft says of itself, and when it is to be published."""

    effective_at = forms.SplitDateTimeField(
        required=False,
        label="Publish at (UTC)",
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Once approved, it is published by itself at this time. Empty: somebody "
        "publishes it by hand",
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)


class StepForm(forms.Form):
    """A step without words: the revision that the person saw goes with it."""

    revision = forms.IntegerField(widget=forms.HiddenInput)


class NoteForm(StepForm):
    """A step with words if one likes."""

    text = forms.CharField(label="Comment", max_length=2_000, required=False, widget=_LONG)


class ReasonForm(StepForm):
    """A step that must be explained."""

    text = forms.CharField(
        label="Reason", max_length=1_900, widget=_LONG, help_text="The author and auditors read it"
    )


class CommentForm(forms.Form):
    """Something to say."""

    text = forms.CharField(label="Comment", max_length=2_000, widget=_LONG)


class EditForm(forms.Form):
    """Base of the forms for one thing. Without `key`, it asks for the thing as well.

    Values that the form does not show (such as a rule's threshold) stay as they are.
    """

    kind: ObjectKind
    naming: tuple[str, ...] = ()  # fields that name a new thing

    revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    remove = forms.BooleanField(
        required=False,
        label="Remove it",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Take it out of the knowledge instead. The other fields do not matter then",
    )

    def __init__(
        self,
        data: Any = None,
        *,
        documents: KnowledgeDocuments,
        key: ObjectKey | None,
        value: dict[str, Any] | None,
        revision: int | None = None,
    ) -> None:
        self.key, self.value, self.documents = key, value or {}, documents
        super().__init__(data, initial={**self.read(self.value), "revision": revision})
        if key is not None:
            for name in self.naming:
                del self.fields[name]
        if key is None or value is None:
            del self.fields["remove"]
        self.order_fields([*self.naming, *(n for n in self.fields if n != "remove"), "remove"])
        self.offer(documents)

    def offer(self, documents: KnowledgeDocuments) -> None:
        """Fill the choices that come from the knowledge in force."""

    def choice(self, name: str) -> forms.ChoiceField:
        """A field with choices."""
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared in the class
        return field

    def read(self, value: dict[str, Any]) -> dict[str, Any]:
        """The fields of a thing."""
        raise NotImplementedError

    def write(self) -> dict[str, Any]:
        """The thing of the fields."""
        raise NotImplementedError

    def named(self) -> ObjectKey:
        """The key of a new thing."""
        raise NotImplementedError

    def result(self) -> tuple[ObjectKey, dict[str, Any] | None]:
        """What is wanted: the thing, or None for its removal."""
        key = self.key or self.named()
        return key, None if self.cleaned_data.get("remove") else self.write()

    def full_clean(self) -> None:
        """Somebody who removes a thing need not fill the other fields in."""
        if self.is_bound and self.data.get("remove"):
            for field in self.fields.values():
                field.required = False
        super().full_clean()


class LabelForm(EditForm):
    """A canonical label."""

    kind = ObjectKind.LABEL
    naming = ("name",)

    name = forms.CharField(
        max_length=80,
        widget=UnfoldAdminTextInputWidget,
        help_text="With its branch, such as PII.Contact.Pager",
    )
    meaning = forms.CharField(max_length=300, min_length=10, widget=_LONG)
    boundary = forms.CharField(
        max_length=300,
        required=False,
        widget=_LONG,
        help_text="Where a neighbouring label takes over",
    )
    severity = forms.ChoiceField(
        choices=Severity.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Used where the detector gives none",
    )
    aliases = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Other names of the same thing in lower case, separated by commas",
    )

    def read(self, value: dict[str, Any]) -> dict[str, Any]:
        """Aliases in one line."""
        return {**value, "aliases": ", ".join(value.get("aliases", []))}

    def write(self) -> dict[str, Any]:
        """As in the taxonomy's file."""
        data = self.cleaned_data
        boundary = {"boundary": data["boundary"]} if data["boundary"] else {}
        aliases = [" ".join(alias.lower().split()) for alias in data["aliases"].split(",")]
        return {
            "meaning": data["meaning"],
            **boundary,
            "severity": data["severity"],
            "aliases": [alias for alias in aliases if alias],
        }

    def named(self) -> ObjectKey:
        """By its name."""
        return ObjectKey(self.kind, "", self.cleaned_data["name"])


class DetectorLabelForm(EditForm):
    """What a detector's label means."""

    kind = ObjectKind.DETECTOR_LABEL
    naming = ("detector", "label")

    detector = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    label = forms.CharField(
        max_length=200, label="The detector's label", widget=UnfoldAdminTextInputWidget
    )
    disposition = forms.ChoiceField(
        label="It is", choices=Disposition.choices, widget=UnfoldAdminSelectWidget
    )
    canonical = forms.MultipleChoiceField(
        required=False,
        label="Canonical labels",
        widget=UnfoldAdminSelectMultipleWidget({"size": 10}),
        help_text="If it is mapped. Hold Ctrl (or Cmd) for several",
    )
    severity = forms.ChoiceField(
        required=False,
        choices=[("", "As the taxonomy says"), *Severity.choices],
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="If it is not mapped: why",
    )

    def offer(self, documents: KnowledgeDocuments) -> None:
        """Detectors and labels in force."""
        labels = [(name, name) for name in sorted(documents.taxonomy["labels"])]
        self.choice("canonical").choices = labels
        if "detector" in self.fields:
            names = sorted(data["detector"] for data in documents.detectors)
            self.choice("detector").choices = [(name, name) for name in names]

    def read(self, value: dict[str, Any]) -> dict[str, Any]:
        """One of three dispositions."""
        disposition = next(
            (d for d in (Disposition.NOT_A_FINDING, Disposition.UNMAPPED) if d in value),
            Disposition.MAPPED,
        )
        return {
            "disposition": disposition,
            "canonical": canonical_labels(value),
            "severity": value.get("severity", ""),
            "reason": value.get(disposition, ""),
        }

    def clean(self) -> dict[str, Any]:
        """Labels where it is mapped, a reason where it is not."""
        data = super().clean() or self.cleaned_data
        if data.get("remove"):
            return data
        mapped = data.get("disposition") == Disposition.MAPPED
        if mapped and not data.get("canonical"):
            self.add_error("canonical", "Choose what it is mapped to.")
        if not mapped and len(data.get("reason", "")) < 5:
            self.add_error("reason", "Say why it is not mapped.")
        return data

    def write(self) -> dict[str, Any]:
        """As in the detector's file."""
        data = self.cleaned_data
        decided = ("canonical", "not_a_finding", "unmapped", "severity")
        kept = {name: value for name, value in self.value.items() if name not in decided}
        if data["disposition"] != Disposition.MAPPED:
            kept = {name: kept[name] for name in ("aliases", "meaning") if name in kept}
            return {data["disposition"]: data["reason"], **kept}
        chosen = data["canonical"]
        severity = {"severity": data["severity"]} if data["severity"] else {}
        return {"canonical": chosen[0] if len(chosen) == 1 else chosen, **severity, **kept}

    def named(self) -> ObjectKey:
        """By detector and label."""
        return ObjectKey(self.kind, self.cleaned_data["detector"], self.cleaned_data["label"])


class CrosswalkRowForm(EditForm):
    """What findings of a label say about a control."""

    kind = ObjectKind.CROSSWALK_ROW
    naming = ("framework", "label", "control")

    framework = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    label = forms.CharField(
        max_length=80,
        widget=UnfoldAdminTextInputWidget,
        help_text="A canonical label, or a branch for all labels below it",
    )
    control = forms.CharField(
        max_length=60,
        widget=UnfoldAdminTextInputWidget,
        help_text="The control's code in that edition, such as CC6.7",
    )
    relationship = forms.ChoiceField(
        choices=Relationship.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Label to control, after NIST IR 8477",
    )
    evidence = forms.ChoiceField(
        choices=Evidence.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="Direct: a finding shows by itself how the control works or fails. Supporting: "
        "it informs the control. None: with not related alone",
    )
    strength = forms.IntegerField(
        min_value=0,
        max_value=10,
        widget=UnfoldAdminTextInputWidget({"type": "number"}),
        help_text="0 to 10: how much one finding says. 0 with not related alone",
    )
    rationale = forms.CharField(
        min_length=10,
        max_length=160,
        widget=UnfoldAdminTextInputWidget,
        help_text="Why, in one line",
    )

    def offer(self, documents: KnowledgeDocuments) -> None:
        """Frameworks in force."""
        if "framework" in self.fields:
            names = sorted(edition_name(data) for data in documents.crosswalks)
            self.choice("framework").choices = [(name, name) for name in names]

    def read(self, value: dict[str, Any]) -> dict[str, Any]:
        """The row as it is."""
        return dict(value)

    def write(self) -> dict[str, Any]:
        """As in the crosswalk's file."""
        names = ("relationship", "evidence", "strength", "rationale")
        return {name: self.cleaned_data[name] for name in names}

    def named(self) -> ObjectKey:
        """By framework, label and control."""
        data = self.cleaned_data
        return ObjectKey(self.kind, data["framework"], row_name(data["label"], data["control"]))


FORMS: dict[ObjectKind, type[EditForm]] = {
    form.kind: form for form in (LabelForm, DetectorLabelForm, CrosswalkRowForm)
}
