"""What an owner has here, and where somebody is signed in as that owner."""

from dataclasses import dataclass

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models.functions import Now

from .models import Image, SignInLink, Upload
from .quotas import used_and_quota


@dataclass(frozen=True)
class Account:
    """`used` is the bytes of originals, trash included, and of uploads under way; `quota` those that may be used."""

    name: str
    used: int
    quota: int | None
    images: int
    uploads: int
    trash: int

    @property
    def left(self) -> int | None:
        """Bytes that may still come; None is no limit. The quota may be less than what is used."""
        return None if self.quota is None else max(0, self.quota - self.used)


def account_of(owner: User) -> Account:
    """Counted now, but for `used`, which stands in a row: each number in an index of its own, not in all rows."""
    used, quota = used_and_quota(owner)
    images = Image.objects.of(owner)
    return Account(
        name=owner.get_username(),
        used=used,
        quota=quota,
        images=images.present().count(),
        uploads=Upload.objects.of(owner).living().count(),
        trash=images.trashed().count(),
    )


def sign_out(owner: User, *, but: str | None) -> None:
    """End the owner's sessions, all `but` the one with this key, and the sign-in links that wait to be used.

    A session's owner stands inside of it, so all that are alive are read. API keys are revoked one by one.
    """
    SignInLink.objects.filter(owner=owner).delete()
    for session in (
        Session.objects.filter(expire_date__gt=Now()).exclude(session_key=but).iterator()
    ):
        if session.get_decoded().get(SESSION_KEY) == str(owner.pk):
            session.delete()
