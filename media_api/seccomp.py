"""Linux may forget, for one process and for good, all system calls but a few (seccomp(2), filter mode).

The filter is a classic BPF program over `struct seccomp_data`: a number that is in the list passes,
`stat` is told that it may not, anything else ends the process with SIGSYS. It is so short that it is
written here, and no library has to be there.
"""

import ctypes
import errno
import platform
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NO_NEW_PRIVS = 38
KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE = 0, 4  # where they lie in struct seccomp_data

# AUDIT_ARCH_*, and which of the numbers below counts (the kernel's syscall_64.tbl, asm-generic/unistd.h).
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# What a decoder needs that has its file already: to read, to write, memory, a clock, chance, an end.
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "exit": (60, 93),
    "futex": (202, 98),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}
# Python asks a file's size by these, and can do without; they would also tell which paths exist.
REFUSED = {"fstat": (5, 80), "newfstatat": (262, 79)}

_libc = ctypes.CDLL(None, use_errno=True)


def is_available() -> bool:
    """Whether this machine is in the list and its kernel takes filters: it then stumbles over the missing program."""
    if platform.machine() not in MACHINES or sys.maxsize < 2**32:
        return False
    refused = _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None)
    return refused == errno.EFAULT


def renounce() -> None:
    """Give up all other system calls, and privileges by exec. There is no way back."""
    code = _program()
    program = struct.pack("HP", len(code) // 8, ctypes.cast(code, ctypes.c_void_p).value)
    for option, first, second in (
        (PR_SET_NO_NEW_PRIVS, 1, None),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program),
    ):
        if refused := _prctl(option, first, second):
            raise OSError(refused, "prctl")


def _program() -> "ctypes.Array[ctypes.c_char]":
    architecture, column = MACHINES[platform.machine()]
    verdicts = dict.fromkeys(ALLOWED.values(), ALLOW)
    verdicts |= dict.fromkeys(REFUSED.values(), ERRNO | errno.EPERM)
    code = [
        (LOAD_WORD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD_WORD, 0, 0, NUMBER),
    ]
    for numbers, verdict in verdicts.items():
        code += [(JUMP_IF_EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, verdict)]
    code.append((RETURN, 0, 0, KILL_PROCESS))
    packed = b"".join(struct.pack("HBBI", *line) for line in code)
    return ctypes.create_string_buffer(packed, len(packed))


def _prctl(option: int, first: int, second: bytes | None) -> int:
    """0, or the number of the error."""
    zero = ctypes.c_ulong(0)
    failed = _libc.prctl(option, ctypes.c_ulong(first), ctypes.c_char_p(second), zero, zero)
    return ctypes.get_errno() if failed else 0
