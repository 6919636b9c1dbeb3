"""Linux may take every file, TCP and the processes around it away from a process, for good (landlock(7)).

A second net below `seccomp`: that forbids calls, this what they would reach. A ruleset without a
single rule forbids all that it knows of; what is open already stays usable.
"""

import ctypes
import os
import struct

CREATE_RULESET, RESTRICT_SELF = 444, 446  # the same numbers on every machine
ASK_VERSION = 1
PR_SET_NO_NEW_PRIVS = 38
# Rights, and the version of the interface that brought them (linux/landlock.h): to files, to TCP ports, and to the
# abstract sockets of processes and signals to processes that are not below this one.
RIGHTS: tuple[dict[int, int], ...] = (
    {1: 0x1FFF, 2: 0x2000, 3: 0x4000, 5: 0x8000},
    {4: 0x3},
    {6: 0x3},
)

_libc = ctypes.CDLL(None, use_errno=True)


def is_available() -> bool:
    return _version() > 0


def renounce() -> None:
    """Give up every right that this kernel knows of. There is no way back."""
    version = _version()
    handled = [
        sum(right for since, right in rights.items() if since <= version) for rights in RIGHTS
    ]
    known = [rights for rights in handled if rights]  # an older kernel has a shorter struct
    attributes = struct.pack(f"{len(known)}Q", *known)
    ruleset = _call(CREATE_RULESET, attributes, len(attributes), 0)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    try:
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _version() -> int:
    try:
        return _call(CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError:
        return 0


def _call(number: int, *arguments: bytes | int | None) -> int:
    """A system call: its result, or OSError."""
    plain = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *plain)
    if result < 0:
        raise OSError(ctypes.get_errno(), "landlock")
    return result
