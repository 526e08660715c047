from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils import timezone

from webapp.accounts.models import User
from webapp.usage import ledger
from webapp.usage.ledger import PARTS, Wanted
from webapp.usage.models import Use
from webapp.usage.use_page import PART_NAMES

PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year"}  # by days
ALL = "all"  # of `who`: everybody's use


class UseForm(forms.Form):
    """Which use a page shows, as its address says. What makes no sense there is as if it were not there."""

    days = forms.ChoiceField(choices=list(PERIODS.items()), required=False)
    by = forms.ChoiceField(choices=[(part, part.title()) for part in PARTS], required=False)
    key = forms.ChoiceField(label="Key", required=False)
    model = forms.ChoiceField(label="Model", required=False)
    version = forms.ChoiceField(label="Version", required=False)
    source = forms.ChoiceField(label="Asked by", choices=[("", "Any way"), *Use.Source.choices], required=False)
    who = forms.ChoiceField(choices=[("", "You"), (ALL, "Everybody")], required=False)

    def __init__(self, given: Any, *, user: User) -> None:
        super().__init__(given)
        self._user = user
        self.of_all = self._text("who") == ALL and may_see_all(user)
        self.period = self._text("days") or "30"
        self.part = self._text("by") or "day"
        if self.part == "user" and not self.of_all:
            self.part = "day"
        choices = ledger.choices(self._wanted(model=self._raw("model")))
        for name, any_of_them, known in (
            ("key", "Every key", [(prefix, f"{label} (sp_{prefix}_…)") for prefix, label in choices.keys]),
            ("model", "Every model", [(model, model) for model in choices.models]),
            ("version", "Every version", [(version, version) for version in choices.versions]),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [("", any_of_them), *known]

    def wanted(self) -> Wanted:
        return self._wanted(**{name: self._text(name) for name in ("key", "model", "version", "source")})

    def address(self, **changed: str) -> str:
        """The query of a page that differs from this one in these fields."""
        kept = {name: self._raw(name) for name in self.fields} | changed
        return "?" + urlencode({name: value for name, value in kept.items() if value})

    @property
    def periods(self) -> list[tuple[str, str, bool]]:
        """Address, name and whether it is this one, of each period."""
        return [(self.address(days=days), name, days == self.period) for days, name in PERIODS.items()]

    @property
    def parts(self) -> list[tuple[str, str, bool]]:
        """The same of what the table may be grouped by."""
        return [
            (self.address(by=part), name, part == self.part)
            for part, name in PART_NAMES.items()
            if part != "user" or self.of_all
        ]

    def _wanted(self, **wishes: str) -> Wanted:
        today = timezone.now().date()
        since = today - timedelta(days=int(self.period) - 1)
        return Wanted(None if self.of_all else self._user, since, today, **wishes)

    def _raw(self, name: str) -> str:
        return str(self.data.get(name, "")).replace("\0", "")  # PostgreSQL cannot even be asked for it

    def _text(self, name: str) -> str:
        """What the field says, empty where it is no choice."""
        field, given = self.fields[name], self._raw(name)
        return given if isinstance(field, forms.ChoiceField) and field.valid_value(given) else ""


def may_see_all(user: User) -> bool:
    """Whether the person may see how much everybody uses."""
    return user.has_perm("usage.view_use")
