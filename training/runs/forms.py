"""Forms of the pages of runs."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanWidget,
)

from training.runs import folders
from training.runs.errors import RunError


class StartForm(forms.Form):
    """What to train: a profile, a data set of the store, and changes of the profile."""

    profile = forms.ChoiceField(
        widget=UnfoldAdminSelectWidget, help_text="How it is trained, and for which base model"
    )
    data_set = forms.ChoiceField(
        label="Data set", widget=UnfoldAdminSelectWidget, help_text="The newest comes first"
    )
    overrides = forms.CharField(
        label="Changes of the profile",
        required=False,
        max_length=2_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="One a line, such as learning_rate=1e-4 or max_steps=200",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choose("profile", folders.profile_choices())
        self.fields["profile"].initial = folders.PACKAGED_PROFILE
        self._choose("data_set", [(one.digest, str(one)) for one in folders.data_sets()])

    def _choose(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - those above are
        field.choices = choices

    def clean_overrides(self) -> dict[str, str]:
        """As a mapping, and right for the profile."""
        text: str = self.cleaned_data["overrides"]
        try:
            found = folders.overrides_of([line for line in text.splitlines() if line.strip()])
            if profile := self.cleaned_data.get("profile"):
                folders.resolved(profile, found)
        except RunError as error:
            raise forms.ValidationError(error.message) from None
        return found


class ConfirmForm(forms.Form):
    """That it is meant."""

    confirm = forms.BooleanField(label="I mean this run", widget=UnfoldBooleanWidget)
