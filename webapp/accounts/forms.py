from typing import Any

from django import forms

from webapp.accounts.models import User


class ProfileForm(forms.ModelForm[User]):
    class Meta:
        model = User
        fields = ("name",)
        help_texts = {"name": "How we greet you. You may leave it empty."}
        widgets = {"name": forms.TextInput(attrs={"autocomplete": "name"})}


class DeleteAccountForm(forms.Form):
    """Asks for the password once more: a screen left open must not be enough to delete an account.

    Who has none, since their organisation signs them in, types their e-mail address.
    """

    password = forms.CharField(
        strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}), max_length=4096
    )
    address = forms.CharField(label="Your e-mail address", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, user: User, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user = user
        del self.fields["address" if user.has_usable_password() else "password"]

    def clean_address(self) -> str:
        address: str = self.cleaned_data["address"]
        if address.lower() != self.user.email.lower():
            raise forms.ValidationError(f"Type {self.user.email}, so that nothing is deleted by mistake.")
        return address

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not self.user.check_password(password):
            raise forms.ValidationError("That is not your password.")
        return password
