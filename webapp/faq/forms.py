from django import forms

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
