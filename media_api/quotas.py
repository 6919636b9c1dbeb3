"""How much an owner uses, and how much that may be. What is used is counted by the database (migration 0004)."""

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from .exceptions import QuotaExceeded

USED_AND_QUOTA = """
SELECT
    (SELECT used FROM media_api_usage WHERE owner_id = %(owner)s),
    (SELECT size FROM media_api_quota WHERE owner_id = %(owner)s)
"""


def used_and_quota(owner: User) -> tuple[int, int | None]:
    """Bytes that are used, and that may be; None is no limit."""
    with connection.cursor() as cursor:
        cursor.execute(USED_AND_QUOTA, {"owner": owner.pk})
        used, quota = cursor.fetchone()
    return used or 0, settings.OWNER_QUOTA if quota is None else quota


def require_room(owner: User, *, more: int = 0) -> None:
    """Raises QuotaExceeded if what is used and `more` bytes are beyond the owner's quota.

    Exact in the transaction that wrote an upload: it holds the owner's Usage. Elsewhere it is what was so a moment ago.
    """
    used, quota = used_and_quota(owner)
    if quota is not None and used + more > quota:
        raise QuotaExceeded
