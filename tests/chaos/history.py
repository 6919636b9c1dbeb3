"""What clients asked for and were told, and what may therefore be true of each picture afterwards."""

import json
import threading
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    KEPT = "kept"
    TRASHED = "trashed"
    GONE = "gone"  # or never there


ANY = frozenset(State)


@dataclass(eq=False)
class Picture:
    """One picture that a client has, by its bytes, and what the service may have made of it.

    Only one client ever asks about it. When it was not told the outcome of something, both outcomes are possible from
    then on, also much later; it asks nothing more.
    """

    owner: str
    sha256: str
    size: int
    possible: frozenset[State] = frozenset({State.GONE})
    tags: frozenset[str] = frozenset({""})  # that it may have: none, or one
    id: str = ""
    is_deleted: bool = False  # for good, and that was acknowledged
    is_settled: bool = True  # all its outcomes are known

    def become(self, state: State) -> None:
        """The client was told so."""
        self.possible = frozenset({state})

    def may_become(self, *states: State) -> None:
        """It was not told."""
        self.possible |= frozenset(states)
        self.is_settled = False

    @property
    def must_be_there(self) -> bool:
        return State.GONE not in self.possible


@dataclass(frozen=True)
class Event:
    """One request and its outcome: what was asked, how it was answered, if it was, and after how long."""

    client: str
    asked: str
    sha256: str
    status: int | None
    seconds: float
    retry_after: str = ""
    code: str = ""
    at: float = field(default_factory=time.time)


class History:
    """All events, also written to a file as they come; and every picture."""

    def __init__(self, file: Path) -> None:
        self.events: list[Event] = []
        self.pictures: list[Picture] = []
        self.surprises: list[str] = []
        self._lock = threading.Lock()
        self._file = file.open("w", buffering=1)

    def add(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)
            self._file.write(json.dumps(asdict(event)) + "\n")

    def own(self, picture: Picture) -> Picture:
        with self._lock:
            self.pictures.append(picture)
        return picture

    def surprise(self, sentence: str) -> None:
        """A client was told what cannot be true."""
        with self._lock:
            self.surprises.append(sentence)
            self._file.write(json.dumps({"surprise": sentence}) + "\n")

    def close(self) -> None:
        self._file.close()
