from collections.abc import Iterable
from typing import Any

from django import forms

from webapp.errors import InvalidInput
from webapp.faq.editing import Content
from webapp.faq.models import Entry
from webapp.faq.services import MAX_QUESTION


class QuestionForm(forms.Form):
    """The search field. `live` marks a request made while somebody types."""

    q = forms.CharField(
        label="Your question",
        max_length=MAX_QUESTION,
        error_messages={
            "required": "Type a question first.",
            "max_length": f"A question may have at most {MAX_QUESTION:,} characters. Shorten it.",
            "null_characters_not_allowed": "The question contains a character that is not text. Remove it.",
        },
    )
    live = forms.BooleanField(required=False)


def _one_a_line(texts: Iterable[str]) -> str:
    """A text with a line for each; one that has several lines itself takes a single one."""
    return "\n".join(" ".join(text.split()) for text in texts)


class EntryForm(forms.Form):
    """An entry as editors write it. version: which they have seen, None of one that is new."""

    question = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), help_text="As people ask it most often, in one sentence."
    )
    answer = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "true"}),
        help_text="In Markdown: **bold**, `code`, [links](https://…), lists, tables, code between lines of ```.",
    )
    phrasings = forms.CharField(
        label="Other ways to ask",
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="One a line. The model learns from them when the collection is published next.",
    )
    test_phrasings = forms.CharField(
        label="Kept for testing",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line. Never trained on: they measure how well the model does.",
    )
    tags = forms.CharField(required=False, help_text="With commas between.")
    state = forms.ChoiceField(
        label="Who sees it", choices=[("live", "Live: everybody who may ask"), ("draft", "Draft: editors only")]
    )
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, before: Content | None = None, version: int | None = None) -> None:
        """before: what the entry says now."""
        self.before = before
        shown = before or Content(question="", answer="", state=Entry.State.DRAFT)
        initial = {
            "question": shown.question,
            "answer": shown.answer,
            "phrasings": _one_a_line(shown.phrasings),
            "test_phrasings": _one_a_line(shown.test_phrasings),
            "tags": ", ".join(shown.tags),
            "state": shown.state,
            "version": version,
        }
        super().__init__(data, initial=initial)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        asked = {**cleaned, "tags": cleaned["tags"].split(",")}
        for name in ("phrasings", "test_phrasings"):
            # What has several lines was shown in one; unless it was changed it stays as it is.
            known = {_one_a_line([text]): text for text in getattr(self.before, name, ())}
            lines = (" ".join(line.split()) for line in cleaned[name].splitlines())
            asked[name] = [known.get(line, line) for line in lines]
        try:
            cleaned["content"] = Content.checked(asked)
        except InvalidInput as error:
            for field, detail in error.fields.items():
                self.add_error(field, detail)
        return cleaned

    @property
    def content(self) -> Content:
        """What the entry shall say. Of a valid form."""
        content: Content = self.cleaned_data["content"]
        return content
