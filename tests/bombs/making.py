"""What a bomb is, and how the modules beside this one enter theirs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

KEPT = "kept"
HEADER, DECODING, WHOLE = "its header", "a look at its data", "decoding all of it"
MiB = 1024 * 1024

Maker = Callable[[], bytes]


@dataclass(frozen=True)
class Bomb:
    """`make` gives its bytes, the same each time. `shown_by` says what it takes to know it."""

    name: str
    make: Maker
    expected: str
    shown_by: str


BOMBS: list[Bomb] = []


def add(
    name: str,
    make: Callable[..., bytes],
    *arguments: Any,
    expected: str = KEPT,
    shown_by: str = DECODING,
) -> None:
    BOMBS.append(Bomb(name, cache(partial(make, *arguments)), expected, shown_by))


def bomb(expected: str, shown_by: str = DECODING) -> Callable[[Maker], Maker]:
    """The function below makes one, and its name says what is wrong with it."""

    def added(make: Maker) -> Maker:
        add(make.__name__.replace("_", " "), make, expected=expected, shown_by=shown_by)
        return make

    return added
