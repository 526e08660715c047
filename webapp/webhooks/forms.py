from django import forms

from webapp.webhooks.models import LONGEST_URL, EventType


class EndpointForm(forms.Form):
    """Where events go, and which ones. Whether the address will do, the service finds out."""

    url = forms.CharField(
        label="Address",
        max_length=LONGEST_URL,
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/hooks", "autocomplete": "off"}),
        help_text="Where your program listens. Each event is posted there as JSON.",
    )
    description = forms.CharField(
        max_length=200, required=False, help_text="For you, such as “Nightly import”.", widget=forms.TextInput
    )
    event_types = forms.MultipleChoiceField(
        label="Events", choices=EventType.choices, initial=EventType.values, widget=forms.CheckboxSelectMultiple
    )
