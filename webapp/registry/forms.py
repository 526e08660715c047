"""The forms of the model pages in admin."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from webapp.registry.models import MOST_CANARY, Event, ScoringModel
from webapp.registry.queries import NOT_YET, has_come
from webapp.templatetags.ui import byte_size

_KIND = Event.Kind
HISTORY_KINDS: dict[str, tuple[Event.Kind, ...]] = {
    "What serves": (
        _KIND.PROMOTION_STARTED,
        _KIND.PROMOTED,
        _KIND.REPLACED,
        _KIND.CONVERGED,
        _KIND.PROMOTION_FAILED,
        _KIND.PROMOTION_CANCELLED,
        _KIND.ROLLED_BACK,
    ),
    "Canary and shadow": (
        _KIND.CANARY_STARTED,
        _KIND.CANARY_CHANGED,
        _KIND.CANARY_ENDED,
        _KIND.CANARY_ABORTED,
        _KIND.SHADOW_STARTED,
        _KIND.SHADOW_CHANGED,
        _KIND.SHADOW_ENDED,
    ),
    "Versions": (
        _KIND.ADOPTED,
        _KIND.REGISTERED,
        _KIND.CHECK_STARTED,
        _KIND.CHECK_PASSED,
        _KIND.CHECK_FAILED,
        _KIND.RETIRED,
        _KIND.ARTIFACT_DELETED,
    ),
    "The model": (_KIND.EVALUATION_SET, _KIND.SETTINGS),
}


class NewModelForm(forms.ModelForm[ScoringModel]):
    class Meta:
        model = ScoringModel
        fields = ("name", "title", "kind", "pool")
        help_texts: ClassVar[dict[str, str]] = {
            "name": "What programs call it by, such as “faq-support”. It cannot be changed later.",
            "title": "The name for people.",
            "pool": "Which pods load its versions.",
        }


class SettingsForm(forms.ModelForm[ScoringModel]):
    class Meta:
        model = ScoringModel
        fields = ("title", "quality_tolerance", "latency_tolerance", "error_factor", "latency_factor", "least_requests")
        labels: ClassVar[dict[str, str]] = {
            "quality_tolerance": "Tolerated loss of quality, percentage points",
            "latency_tolerance": "Tolerated gain of latency, percent",
            "error_factor": "A canary ends at this many times the errors",
            "latency_factor": "A canary ends at this many times the latency",
            "least_requests": "Requests before figures count",
        }


class ReasonForm(forms.Form):
    """Why something is done. It stays in the history."""

    reason = forms.CharField(
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Stays in the history beside your name.",
    )


class PromoteForm(ReasonForm):
    """needs_reason: whether the version is promoted against what its check found."""

    def __init__(self, *args: object, needs_reason: bool, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        field = self.fields["reason"]
        field.required = needs_reason
        if needs_reason:
            field.error_messages["required"] = "Say why it shall serve all the same."


class RollBackForm(ReasonForm):
    """version: the standby that the page named, so that nobody goes back to another one than they read."""

    version = forms.CharField(max_length=128, required=False, widget=forms.HiddenInput)


class CancelForm(forms.Form):
    rollout = forms.IntegerField(required=False, widget=forms.HiddenInput)


class PercentField(forms.IntegerField):
    """A whole percentage; `most` is said in the refusal."""

    def __init__(self, most: int, **options: object) -> None:
        refusal = f"A whole number from 1 to {most}."
        super().__init__(
            min_value=1,
            max_value=most,
            error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), refusal),
            widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
            **options,  # type: ignore[arg-type]  # passed on as they came
        )


class CanaryForm(ReasonForm):
    percent = PercentField(
        MOST_CANARY,
        label="Share, percent",
        initial=10,
        help_text=f"Of the requests that name no version; 1 to {MOST_CANARY}.",
    )
    field_order = ("percent", "reason")


class ShadowForm(ReasonForm):
    percent = PercentField(
        100, label="Share, percent", initial=20, help_text="Of the answered requests that are scored again; 1 to 100."
    )
    field_order = ("percent", "reason")


class RetireForm(ReasonForm):
    """may_delete: whether the person may also delete the artifact."""

    delete_artifact = forms.BooleanField(required=False, label="Delete its files from the model store too")

    def __init__(self, *args: object, may_delete: bool, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        if not may_delete:
            del self.fields["delete_artifact"]


def _not_too_large(upload: UploadedFile[bytes]) -> None:
    if (upload.size or 0) > settings.MAX_ARTIFACT_UPLOAD_BYTES:
        raise ValidationError(f"At most {byte_size(settings.MAX_ARTIFACT_UPLOAD_BYTES)}.")


class UploadForm(forms.Form):
    notes = forms.CharField(
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What is new in it, for those who decide on it.",
    )
    artifact = forms.FileField(
        label="Artifact",
        validators=[_not_too_large],
        widget=forms.FileInput(attrs={"accept": ".zip,application/zip"}),
        help_text="A zip of the version’s folder: <code>manifest.json</code> and the files that it names.",
        error_messages={"required": "Choose a zip file.", "empty": "The file is empty."},
    )


class EvaluationSetForm(forms.Form):
    """kind: of the model; says which form its inputs with known answers have."""

    evaluation = forms.FileField(
        label="Evaluation set",
        validators=[_not_too_large],
        error_messages={"required": "Choose a file.", "empty": "The file is empty."},
    )

    HINTS: ClassVar[dict[str, tuple[str, str]]] = {
        ScoringModel.Kind.FAQ: (
            ".jsonl",
            (
                'One JSON object a line: <code>{"question": "…", "faq_id": "…"}</code>, with <code>null</code> where '
                "no entry answers the question."
            ),
        ),
        ScoringModel.Kind.IMAGE: (
            ".zip",
            "A zip of pictures and a <code>labels.csv</code> with the columns <code>file,label_id</code>.",
        ),
    }

    def __init__(self, *args: object, kind: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        accept, hint = self.HINTS[kind]
        field = self.fields["evaluation"]
        field.widget.attrs["accept"] = accept
        field.help_text = hint


class MomentForm(forms.Form):
    """A moment, in UTC where it says nothing else: what a browser's own field sends."""

    at = forms.DateTimeField(
        label="What served at this moment?",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"),
        help_text="In UTC.",
        error_messages={"invalid": "Write it as 2026-01-31T14:05:00."},
    )

    def clean_at(self) -> datetime:
        at: datetime = self.cleaned_data["at"]
        try:
            at = at.astimezone(UTC)
        except OverflowError as error:  # the first or the last hours of the calendar, elsewhere in the world
            raise ValidationError(self.fields["at"].error_messages["invalid"]) from error
        if not has_come(at):
            raise ValidationError(NOT_YET)
        return at


class HistoryForm(forms.Form):
    """Which events of the history are shown. What does not fit is left out of account."""

    kind = forms.ChoiceField(
        label="What happened",
        required=False,
        choices=[
            ("", "Everything"),
            *((group, [(kind.value, kind.label) for kind in kinds]) for group, kinds in HISTORY_KINDS.items()),
        ],
    )
    version = forms.ChoiceField(required=False)
    actor = forms.CharField(label="Who", max_length=254, required=False)

    def __init__(self, *args: object, versions: Sequence[str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        version = self.fields["version"]
        assert isinstance(version, forms.ChoiceField)
        version.choices = [("", "All"), *((name, name) for name in versions)]

    def wanted(self) -> dict[str, str]:
        self.is_valid()
        return {name: str(self.cleaned_data.get(name, "")) for name in ("kind", "version", "actor")}
