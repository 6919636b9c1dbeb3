"""What the doctor says of one thing that was looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings


class State(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing, nothing to be done
    SKIPPED = "skipped"  # could not mean anything, since something else failed
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    state: State
    sentence: str
    remedy: str = ""


class Check(NamedTuple):
    """A look at one thing. It is left out when one of those failed that it `needs`."""

    name: str
    look: Callable[[], Finding]
    needs: tuple[str, ...] = ()


def ok(sentence: str) -> Finding:
    return Finding(State.OK, sentence)


def note(sentence: str) -> Finding:
    return Finding(State.NOTE, sentence)


def warn(sentence: str, remedy: str) -> Finding:
    return Finding(State.WARN, sentence, remedy)


def fail(sentence: str, remedy: str) -> Finding:
    return Finding(State.FAIL, sentence, remedy)


def start_it(otherwise: str) -> str:
    """The remedy for a part that does not run."""
    return "Start it with `make run`." if settings.EMBEDDED else otherwise


def clock(whose: str, seconds: float) -> Finding:
    """`seconds` is how far that clock is ahead of ours. Beyond 15 minutes stores refuse us (S3 reference)."""
    off = abs(seconds)
    sentence = f"The clock of {whose} is {off:.0f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    remedy = "Set both clocks, and keep them right with NTP (chrony, systemd-timesyncd)."
    if off > 15 * 60:
        return fail(f"{sentence}: what we sign is refused, or lives too long.", remedy)
    if off > 60:
        return warn(f"{sentence}.", remedy)
    return ok(f"The clock of {whose} is ours, give or take {max(off, 1):.0f} s.")
