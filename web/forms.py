import unicodedata
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.http import HttpRequest

from media_api.models import (
    MAX_TAGS,
    NAME_LENGTH,
    TAG_LENGTH,
    ApiKey,
    clean_name,
    database_now,
)
from media_api.throttles import guessing


class TagsField(forms.CharField):
    """Tags divided by commas, as a list without doubles."""

    widget = forms.TextInput(attrs={"autocapitalize": "none"})

    def prepare_value(self, value: str | list[str] | None) -> str | None:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: str) -> list[str]:
        text = unicodedata.normalize("NFC", super().clean(value))
        tags = list(dict.fromkeys(filter(None, (tag.strip() for tag in text.split(",")))))
        if len(tags) > MAX_TAGS:
            raise forms.ValidationError(
                f"A picture has at most {MAX_TAGS} tags; these are {len(tags)}."
            )
        if any(len(tag) > TAG_LENGTH for tag in tags):
            raise forms.ValidationError(f"A tag has at most {TAG_LENGTH} characters.")
        if not all(tag.isprintable() for tag in tags):
            raise forms.ValidationError("A tag has no control characters.")
        return tags


class LabelsForm(forms.Form):
    """What may be changed of an image."""

    name = forms.CharField(
        max_length=NAME_LENGTH, error_messages={"required": "A picture needs a name."}
    )
    tags = TagsField(
        required=False, help_text="Divided by commas: holiday, summer 2026", max_length=4000
    )

    def clean_name(self) -> str:
        return clean_name(self.cleaned_data["name"])


class KeyForm(forms.Form):
    name = forms.CharField(
        label="What is it for", max_length=100, required=False, help_text="For you to know it by."
    )
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=[
            (ApiKey.Scope.READ.value, "Read: see pictures and their links"),
            (ApiKey.Scope.WRITE.value, "Write: send, change and delete pictures"),
        ],
        initial=[ApiKey.Scope.READ.value],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one thing that the key may do."},
    )

    expires_at = forms.TypedChoiceField(
        label="It works",
        choices=[
            ("", "Until it is revoked"),
            ("30", "30 days"),
            ("90", "90 days"),
            ("365", "A year"),
        ],
        required=False,
        widget=forms.RadioSelect,
        coerce=lambda days: database_now() + timedelta(days=int(days)),
        empty_value=None,
    )


class SignInForm(AuthenticationForm):
    error_messages = {
        "invalid_login": "This name and password do not belong together. Try again, or use a sign-in link.",
        "inactive": "This account is switched off.",
    }

    request: HttpRequest

    def clean(self) -> dict[str, Any]:
        with guessing(self.request, self.cleaned_data.get("username", "")):
            return super().clean()


class PasswordForm(PasswordChangeForm):
    """Whoever found an open session may not try passwords here either."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_old_password(self) -> str:
        with guessing(self.request, self.user.get_username()):
            return super().clean_old_password()
