"""What an owner has here."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Count, Q, Sum

from .models import Image, Upload


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
