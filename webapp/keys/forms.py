from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from webapp.accounts.models import User
from webapp.accounts.roles import may_see_history
from webapp.errors import InvalidInput
from webapp.keys import networks as nets
from webapp.keys.models import ApiKey, Scope
from webapp.keys.networks import Network

LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "Never"}  # by days
AS_NOW = "as now"
OVERLAPS = {"0": "Ends at once", "1": "1 hour", "24": "24 hours", "168": "7 days", "720": "30 days"}  # by hours


class KeyForm(forms.Form):
    """What can be changed of a key at any time."""

    name = forms.CharField(max_length=80, help_text="Where you use it, such as “Support bot”.", widget=forms.TextInput)
    networks = forms.CharField(
        label="Allowed networks", required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(self, *args: Any, address: str, **options: Any) -> None:
        """address: where the person is now, so that nobody shuts themselves out unawares."""
        super().__init__(*args, **options)
        self.fields["networks"].help_text = (
            "From which addresses it works, such as <code>203.0.113.0/24</code> or <code>2001:db8::/32</code>. "
            f"Empty: from anywhere. You are at <code>{address}</code> now."
        )

    def clean_networks(self) -> list[Network]:
        try:
            return nets.read(self.cleaned_data["networks"])
        except InvalidInput as error:
            raise forms.ValidationError(error.detail) from error


class CreateKeyForm(KeyForm):
    """What a person chooses for a new key."""

    owner = forms.ChoiceField(label="Belongs to", required=False)
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=[Scope.FAQ.value, Scope.IMAGES.value],
        widget=forms.CheckboxSelectMultiple,
        help_text="A key can do only what you choose here.",
    )
    lifetime = forms.ChoiceField(label="Expires after", choices=list(LIFETIMES.items()), initial="90", required=False)
    field_order = ("owner", "name", "scopes", "lifetime", "networks")

    def __init__(self, *args: Any, owners: Sequence[User], **options: Any) -> None:
        """owners: whose key it may be, the person first. Who may not read the models' history is not offered that."""
        super().__init__(*args, **options)
        self.owners = {str(owner.pk): owner for owner in owners}
        owner, scopes = self.fields["owner"], self.fields["scopes"]
        if isinstance(owner, forms.ChoiceField):
            me, *services = self.owners.items()
            owner.choices = [(me[0], "You"), *((pk, f"{each.name} (service account)") for pk, each in services)]
        if len(self.owners) == 1:
            del self.fields["owner"]
        if isinstance(scopes, forms.MultipleChoiceField) and not any(map(may_see_history, owners)):
            scopes.choices = [each for each in Scope.choices if each[0] != Scope.ADMIN]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if Scope.ADMIN in cleaned.get("scopes", ()) and not may_see_history(self.chosen_owner()):
            self.add_error("scopes", "The owner of the key may not read the models’ history.")
        return cleaned

    def chosen_owner(self) -> User:
        """Whose key it will be: the person's own unless another owner was chosen."""
        return self.owners.get(self.cleaned_data.get("owner") or "", next(iter(self.owners.values())))

    def expires_at(self) -> datetime | None:
        """The moment the chosen lifetime ends, counted from now; None for never."""
        return _end_of(self.cleaned_data["lifetime"])


class RotateForm(forms.Form):
    """How long the old secret works on, and until when the key does."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)
    overlap = forms.ChoiceField(label="The old secret works for", choices=list(OVERLAPS.items()), initial="24")
    lifetime = forms.ChoiceField(label="The key expires after", required=False)

    def __init__(self, *args: Any, key: ApiKey, **options: Any) -> None:
        """key: with its secrets; what it has now is offered where it still makes sense."""
        super().__init__(*args, **options)
        self.key = key
        lifetime, ends = self.fields["lifetime"], key.expires_at
        self.fields["seen"].initial = key.current_secret.pk if key.current_secret else None
        if isinstance(lifetime, forms.ChoiceField):
            lifetime.choices = list(LIFETIMES.items())
            if ends is not None and key.is_live:
                lifetime.choices = [(AS_NOW, f"As now, on {ends:%-d %B %Y}"), *LIFETIMES.items()]
                lifetime.initial = "90" if key.ends_soon else AS_NOW  # who rotates it then wants more time, too
            else:
                lifetime.initial = "" if ends is None else "90"

    def chosen_overlap(self) -> timedelta:
        return timedelta(hours=int(self.cleaned_data["overlap"]))

    def expires_at(self) -> datetime | None:
        """When the key shall expire; None for never."""
        chosen = self.cleaned_data["lifetime"]
        return self.key.expires_at if chosen == AS_NOW else _end_of(chosen)


def _end_of(days: str) -> datetime | None:
    return timezone.now() + timedelta(days=int(days)) if days else None
