"""What an owner has here, and where somebody is signed in as that owner."""

from dataclasses import dataclass

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models import Count, Q, Sum
from django.db.models.functions import Now

from .models import Image, SignInLink, Upload


@dataclass(frozen=True)
class Account:
    """Sizes are in bytes. `used` is what originals take, trash included, and uploads under way."""

    name: str
    used: int
    quota: int | None
    images: int
    uploads: int
    trash: int


def account_of(owner: User) -> Account:
    """Counted now, in two queries."""
    kept = Image.objects.of(owner).aggregate(
        size=Sum("size", default=0),
        images=Count("id", filter=Q(trashed_at=None)),
        trash=Count("id", filter=~Q(trashed_at=None)),
    )
    coming = (
        Upload.objects.of(owner).living().aggregate(size=Sum("size", default=0), count=Count("id"))
    )
    return Account(
        name=owner.get_username(),
        used=kept["size"] + coming["size"],
        quota=None,
        images=kept["images"],
        uploads=coming["count"],
        trash=kept["trash"],
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
