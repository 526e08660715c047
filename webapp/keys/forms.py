from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from webapp.accounts.models import User
from webapp.accounts.roles import may_see_history
from webapp.keys.models import Scope

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "Never"}  # by days


class CreateKeyForm(forms.Form):
    """What a person chooses for a new key."""

    name = forms.CharField(
        max_length=80, help_text="Where you will use it, such as “Support bot”.", widget=forms.TextInput
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=[Scope.FAQ.value, Scope.IMAGES.value],
        widget=forms.CheckboxSelectMultiple,
        help_text="A key can do only what you choose here.",
    )
    lifetime = forms.ChoiceField(label="Expires after", choices=list(LIFETIMES.items()), initial="90", required=False)

    def __init__(self, *args: Any, user: User, **options: Any) -> None:
        """user: whose key it will be; only those who may read the models' history are offered that scope."""
        super().__init__(*args, **options)
        scopes = self.fields["scopes"]
        if isinstance(scopes, forms.MultipleChoiceField) and not may_see_history(user):
            scopes.choices = [each for each in Scope.choices if each[0] != Scope.ADMIN]

    def expires_at(self) -> datetime | None:
        """The moment the chosen lifetime ends, counted from now; None for never."""
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None
