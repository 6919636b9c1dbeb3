"""How often somebody may ask. Counted in Postgres, so that all processes of all machines count together.

A limit is a bucket that holds `quota` requests and refills evenly, all of it within `seconds` (a "generic cell rate
algorithm"). All that is known of a bucket is the moment when it will be full again; a request is taken if it moves that
moment to no more than `seconds` from now. One statement does it, in a transaction of its own: of two at the same time
the second waits for the row, sees what the first has left, and reads the clock then.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from .exceptions import RateLimited

if TYPE_CHECKING:
    from rest_framework.views import APIView

ADDRESS_SHARE = 10  # people behind one address have this many times what one account has


# --- for the API ----------------------------------------------------------------------------------


class MethodThrottle(BaseThrottle):
    """A view says what a method counts as: `counted_as = {"GET": "list"}`. Its answers have the RateLimit fields."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        method = "GET" if request.method == "HEAD" else request.method
        name = getattr(view, "counted_as", {}).get(method)
        standing = count(request, name) if name else None
        if standing:
            view.headers |= rate_limit_fields(standing)
            require_room(standing)
        return True


def rate_limit_fields(standing: "Standing") -> dict[str, str]:
    """The two fields of draft-ietf-httpapi-ratelimit-headers-11: `t` is when one more request is possible."""
    limit = standing.limit
    return {
        "RateLimit-Policy": f'"{limit.name}";q={limit.quota};w={limit.seconds}',
        "RateLimit": f'"{limit.name}";r={standing.remaining};t={standing.wait}',
    }


# --- for pages ------------------------------------------------------------------------------------


def require(request: HttpRequest, name: str) -> None:
    """Count this request as `name`. Raises RateLimited."""
    if standing := count(request, name):
        require_room(standing)


def require_room(standing: "Standing") -> None:
    if not standing.is_taken:
        raise RateLimited(
            f"Too many requests. Try again {in_words(standing.wait)}.", retry_after=standing.wait
        )


# --- for passwords --------------------------------------------------------------------------------


@contextmanager
def guessing(request: HttpRequest, name: str) -> Iterator[None]:
    """Around the look at a password. A right one, where nothing is raised, is not counted. Raises RateLimited.

    It is counted before the look, so that many tries at once are no more than many in a row. One address soon has no
    more tries for one name; it takes many addresses to use up those of a name, and then a sign-in link is left.
    """
    limit = limit_of("sign_in")
    if limit is None:
        yield
        return
    wide, address = limit.widened(), address_of(request)
    digest = salted_hmac("sign_in", name).hexdigest()  # people type passwords where the name goes
    keys = [
        (limit, f"sign_in name {digest} address {address}"),
        (wide, f"sign_in address {address}"),
        (wide, f"sign_in name {digest}"),
    ]
    require_guess(take_each(keys))
    yield
    give_back(keys)


def count_dead_link(request: HttpRequest) -> None:
    """Somebody opened a sign-in link that is none. Those that are alive are not counted. Raises RateLimited."""
    if limit := limit_of("sign_in"):
        require_guess(take_each([(limit.widened(), f"sign_in address {address_of(request)}")]))


def require_guess(standing: "Standing") -> None:
    if not standing.is_taken:
        when = in_words(standing.wait)
        raise RateLimited(
            f"Too many wrong tries. Try again {when}, or use a new sign-in link.",
            retry_after=standing.wait,
        )


def in_words(seconds: int) -> str:
    """Rounded up, as nobody counts seconds for long."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds > length:
            return f"in {ceil(seconds / length)} {unit}s"
    return "in a second" if seconds == 1 else f"in {seconds} seconds"


# --- counting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """`quota` at once, and as many again spread over the next `seconds`."""

    name: str
    quota: int
    seconds: int

    @property
    def step(self) -> timedelta:
        """How long one request takes to come back."""
        return timedelta(seconds=self.seconds) / self.quota

    @property
    def window(self) -> timedelta:
        """`seconds`, as whole steps: else the microseconds that a step is rounded by let one more in."""
        return self.step * self.quota

    def widened(self) -> "Limit":
        return Limit(f"{self.name}-address", self.quota * ADDRESS_SHARE, self.seconds)


@dataclass(frozen=True)
class Standing:
    """How it stands with a limit after a request. `until_full` is how long the bucket takes to be full again."""

    limit: Limit
    until_full: timedelta
    is_taken: bool

    @property
    def remaining(self) -> int:
        return (self.limit.window - self.until_full) // self.limit.step if self.is_taken else 0

    @property
    def wait(self) -> int:
        """Whole seconds until one more than what remains is possible, at least 1."""
        room = self.limit.window - self.until_full
        wait = (self.remaining + 1) * self.limit.step - room
        return max(1, ceil(wait.total_seconds()))


def limit_of(name: str) -> Limit | None:
    """The limit of one account, if there is one."""
    rate = getattr(settings, f"THROTTLE_{name.upper()}")
    return Limit(name, *rate) if rate else None


def count(request: HttpRequest | Request, name: str) -> Standing | None:
    """Count a request against the limits of its account and its address: how it stands with the account's, or with
    the one that refuses. None without a limit."""
    limit = limit_of(name)
    if limit is None:
        return None
    keys = [(limit.widened(), f"{name} address {address_of(request)}")]
    if request.user.is_authenticated:
        keys.insert(0, (limit, f"{name} account {request.user.pk}"))
    return take_each(keys)


def address_of(request: HttpRequest | Request) -> str:
    """Whose address it is: an IPv6 client has the last 64 bits for itself (RFC 6177)."""
    text: str = request.META.get("REMOTE_ADDR", "")
    try:
        address = ip_address(text)
    except ValueError:  # a socket of the machine has none
        return text
    return text if address.version == 4 else str(ip_network((address, 64), strict=False))


def take_each(keys: Sequence[tuple[Limit, str]]) -> Standing:
    """One of each or of none: how it stands with the first, or with the first one that refuses."""
    left = take(keys)
    if len(left) < len(keys):
        give_back([(limit, key) for limit, key in keys if key in left])
        limit, key = next((limit, key) for limit, key in keys if key not in left)
        return Standing(limit, until_full(key), is_taken=False)
    limit, key = keys[0]
    return Standing(limit, left[key], is_taken=True)


# Whoever asks for two of them asks in the same order as others do, so nobody waits for each other.
TAKE = """
INSERT INTO media_api_throttle AS known (key, full_at)
SELECT key, clock_timestamp() + step FROM unnest(%(keys)s::text[], %(steps)s::interval[]) AS asked (key, step)
ON CONFLICT (key) DO UPDATE SET full_at = {moved}
WHERE {moved} <= clock_timestamp() + {window}
RETURNING key, full_at - clock_timestamp()
""".format(
    moved="greatest(known.full_at, clock_timestamp())"
    " + (%(steps)s::interval[])[array_position(%(keys)s::text[], known.key)]",
    window="(%(windows)s::interval[])[array_position(%(keys)s::text[], known.key)]",
)
LOOK = """
SELECT greatest(max(full_at) - clock_timestamp(), interval '0')
FROM media_api_throttle WHERE key = %s
"""
GIVE_BACK = "UPDATE media_api_throttle SET full_at = full_at - %(step)s WHERE key = %(key)s"


def take(keys: Sequence[tuple[Limit, str]]) -> dict[str, timedelta]:
    """Take one from each bucket that has one: how long each of these takes to be full again.

    Exact, however many do so at the same time.
    """
    values: Any = {
        "keys": [key for _, key in keys],
        "steps": [limit.step for limit, _ in keys],
        "windows": [limit.window for limit, _ in keys],
    }
    with connection.cursor() as cursor:
        cursor.execute(TAKE, values)
        return dict(cursor.fetchall())


def until_full(key: str) -> timedelta:
    with connection.cursor() as cursor:
        cursor.execute(LOOK, [key])
        left: timedelta = cursor.fetchone()[0]
    return left


def give_back(keys: Sequence[tuple[Limit, str]]) -> None:
    with connection.cursor() as cursor:
        for limit, key in keys:
            values: Any = {"key": key, "step": limit.step}
            cursor.execute(GIVE_BACK, values)
