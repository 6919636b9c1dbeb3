"""What must hold of the settings and of the machine that this runs on."""

import os
import shutil
import tempfile
from pathlib import Path

from django.conf import settings
from django.core.checks import ERROR, CheckMessage, run_checks

from media_api import checks, imaging

from .findings import Finding, State, fail, note, ok, warn

GiB = 1024**3
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def settings_hold() -> Finding:
    looked_at = {checks.DECODERS, *checks.NETS}
    return _told(
        [message for message in run_checks() if message.id not in looked_at],
        "The settings pass all checks.",
    )


def decoders_are_mended() -> Finding:
    versions = ", ".join(f"{name} {version}" for name, version in imaging.versions().items())
    return _told(checks.decoders_are_mended(), f"No hole is known in {versions}.")


def decoders_are_caged() -> Finding:
    return _told(checks.decoders_are_caged(), "Decoders run behind seccomp and Landlock.")


def _told(messages: list[CheckMessage], well: str) -> Finding:
    told = [message for message in messages if not message.is_silenced()]
    if not told:
        return ok(well)
    state = State.FAIL if max(message.level for message in told) >= ERROR else State.WARN
    remedies = [message.hint for message in told if message.hint]
    return Finding(state, " ".join(message.msg for message in told), " ".join(remedies))


def disk_has_room() -> Finding:
    """Each request and each job may hold an original in TMPDIR; the embedded services live in DATA."""
    at_once = settings.WEB_WORKERS * settings.WEB_THREADS + settings.WORKER_CONCURRENCY
    needed = {Path(tempfile.gettempdir()): at_once * settings.MAX_UPLOAD_SIZE}
    if settings.EMBEDDED and settings.DATA.exists():
        needed[settings.DATA] = GiB
    free = {folder: shutil.disk_usage(folder).free for folder in needed}
    told = ", ".join(f"{folder} has {free[folder] / GiB:.1f} GiB left" for folder in needed)
    remedy = "Make room, or set TMPDIR to a folder on a larger disk."
    if any(free[folder] < settings.MAX_UPLOAD_SIZE for folder in needed):
        return fail(f"The disk is full: {told}.", remedy)
    if any(free[folder] < needed[folder] for folder in needed):
        return warn(f"The disk is nearly full: {told}.", remedy)
    return ok(f"{told}.")


def memory_suffices() -> Finding:
    """A note only: few pictures need all that one may take."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if MEMORY_LIMIT.exists() and (limit := MEMORY_LIMIT.read_text().strip()).isdecimal():
        there = min(there, int(limit))
    asked = settings.WORKER_CONCURRENCY * settings.EXAMINE_MEMORY
    told = (
        f"{settings.WORKER_CONCURRENCY} pictures at once may take {asked / GiB:.1f} GiB of memory"
    )
    if asked > there:
        return note(f"{told}; there are {there / GiB:.1f}. See WORKER_CONCURRENCY.")
    return ok(f"{told} of {there / GiB:.1f}.")
