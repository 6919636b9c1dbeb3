"""Clients that do what people do, in an order that a seed decides, and write down what they were told."""

import random
import struct
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx2

from tests import pictures
from tests.chaos.deployment import PART_THRESHOLD, Deployment
from tests.chaos.history import Event, History, Picture, State
from tests.sending import API, sha256

LONGEST = 40.0  # seconds that a client waits for one answer; more than it should have to
PATIENCE = 60.0  # seconds that it repeats a request for
PAUSE = 0.3
THOUGHT = 1.0  # seconds between two things that somebody does, at most; else the machine would be all that is tested
WAIT = 5  # seconds that it asks the service to wait for a picture
SIZES = [(64, 48), (64, 48), (640, 480), (1600, 1200)]
JPEG = "image/jpeg"


@cache
def base(width: int, height: int) -> bytes:
    return pictures.jpeg(width, height)


def a_jpeg(dice: random.Random) -> bytes:
    """No two are the same: each has a comment of its own, which the stripped copy has not."""
    comment = dice.randbytes(16)
    body = base(*dice.choice(SIZES))
    return body[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + body[2:]


class Client(threading.Thread):
    wait = WAIT

    def __init__(self, owner: str, deployment: Deployment, history: History, seed: str) -> None:
        super().__init__(name=owner, daemon=True)
        self.owner, self.history = owner, history
        self.dice = random.Random(f"{seed}/{owner}")
        self.done = threading.Event()
        self.mine: list[Picture] = []
        self.http = httpx2.Client(
            base_url=deployment.addresses.api,
            headers={"Authorization": f"Bearer {deployment.addresses.keys[owner]}"},
            timeout=LONGEST,
            trust_env=False,
        )
        self.store = httpx2.Client(timeout=LONGEST, trust_env=False)
        self.deployment = deployment

    def run(self) -> None:
        things, weights = zip(*WHAT_PEOPLE_DO.items(), strict=True)
        try:
            while not self.done.is_set():
                (thing,) = self.dice.choices(things, weights)
                thing(self)
                self.done.wait(self.dice.uniform(0, THOUGHT))
        except Exception as error:
            self.history.surprise(f"C8: {self.owner} was told what nobody could read: {error!r}")
            raise
        finally:
            self.close()

    def close(self) -> None:
        self.http.close()
        self.store.close()

    # --- asking ---------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, picture: Picture | None = None, **request: Any
    ) -> httpx2.Response | None:
        """The answer, or None if there was none."""
        began = time.monotonic()
        try:
            answer = self.http.request(method, f"{API}{path}", **request)
        except httpx2.TransportError:
            answer = None
        seconds = time.monotonic() - began
        self.history.add(
            Event(
                client=self.name,
                asked=f"{method} {path}",
                sha256=picture.sha256 if picture else "",
                status=answer.status_code if answer else None,
                seconds=round(seconds, 3),
                retry_after=answer.headers.get("Retry-After", "") if answer else "",
                code=code_of(answer) if answer else "",
            )
        )
        return answer

    def insist(
        self, method: str, path: str, picture: Picture, **request: Any
    ) -> httpx2.Response | None:
        """Ask again until there is an answer that says what became of it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self.ask(method, path, picture, **request)
            if (
                answer is not None
                and answer.status_code != 503
                and code_of(answer) != "in_progress"
            ):
                return answer
            time.sleep(PAUSE)
        return None

    def expect(
        self, answer: httpx2.Response, what: str, *statuses: int, column: str = "C1"
    ) -> bool:
        if answer.status_code in statuses:
            return True
        self.history.surprise(
            f"{column}: {what} was answered {answer.status_code} {code_of(answer)}"
        )
        return False

    # --- new pictures ---------------------------------------------------------------------------

    def new(self, body: bytes) -> Picture:
        picture = Picture(self.owner, sha256(body), len(body))
        self.mine.append(self.history.own(picture))
        return picture

    def send(self) -> None:
        body = a_jpeg(self.dice)
        picture = self.new(body)
        headers = {"Content-Type": JPEG, "Idempotency-Key": picture.sha256}
        asked = self.insist if self.dice.random() < 0.8 else self.ask
        answer = asked("POST", f"/images?wait={self.wait}", picture, content=body, headers=headers)
        self.note(picture, answer)

    def send_without_a_key(self) -> None:
        body = a_jpeg(self.dice)
        picture = self.new(body)
        answer = self.ask("POST", "/images?wait=0", picture, files={"file": ("a.jpg", body, JPEG)})
        self.note(picture, answer)

    def note(self, picture: Picture, answer: httpx2.Response | None) -> None:
        """What became of the bytes of a good picture."""
        if answer is None or answer.status_code == 503:
            picture.may_become(State.KEPT)
        elif answer.status_code in (200, 201, 202):
            picture.id = answer.json()["id"]
            picture.become(State.KEPT)
        elif code_of(answer) != "upload_expired":
            self.expect(answer, "a good picture", 201)

    def send_directly(self) -> None:
        body = a_jpeg(self.dice)
        picture = self.new(body)
        if upload := self.announced(picture, body):
            self.put(upload, body)
            answer = self.complete(picture, upload, body)
            if answer is not None and answer.status_code in (200, 201) and self.dice.random() < 0.3:
                self.put(upload, bytes(len(body)), seconds=0)  # the address still works

    def send_in_parts(self) -> None:
        body = pictures.large(PART_THRESHOLD + 1, seed=self.dice.getrandbits(32))
        picture = self.new(body)
        if upload := self.announced(picture, body):
            self.put_parts(upload, body)
            self.complete(picture, upload, body)

    def announced(self, picture: Picture, body: bytes) -> dict[str, Any] | None:
        said = {"name": "b.jpg", "size": len(body), "content_type": JPEG, "sha256": picture.sha256}
        headers = {"Idempotency-Key": picture.sha256}
        answer = self.insist("POST", "/uploads", picture, json=said, headers=headers)
        if answer is None or code_of(answer) == "upload_expired":
            return None
        if not self.expect(answer, "an announcement", 201):
            return None
        upload: dict[str, Any] = answer.json()
        picture.id = upload["id"]
        return upload

    def put(self, upload: dict[str, Any], body: bytes, *, seconds: float = PATIENCE) -> None:
        """Until the store takes it, or does not any more."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self.store.put(upload["url"], content=body, headers=upload["headers"])
            except httpx2.TransportError:
                answer = None
            if (answer is not None and answer.status_code < 500) or time.monotonic() > deadline:
                return
            time.sleep(PAUSE)

    def put_parts(self, upload: dict[str, Any], body: bytes) -> None:
        size = upload["part_size"]
        for part in upload["parts"]:
            start = (part["number"] - 1) * size
            self.put(part, body[start : start + size])

    def complete(
        self, picture: Picture, upload: dict[str, Any], body: bytes
    ) -> httpx2.Response | None:
        answer = self.insist("POST", f"/uploads/{picture.id}/complete?wait={self.wait}", picture)
        if answer is not None and code_of(answer) == "not_staged":
            self.send_again(picture, upload, body)
            answer = self.insist("POST", f"/uploads/{picture.id}/complete?wait=0", picture)
        if answer is None or code_of(answer) != "not_staged":  # which can only expire
            self.note(picture, answer)
        return answer

    def send_again(self, picture: Picture, upload: dict[str, Any], body: bytes) -> None:
        if "parts" not in upload:
            self.put(upload, body)
            return
        numbers = [part["number"] for part in upload["parts"]]
        answer = self.insist(
            "POST", f"/uploads/{picture.id}/parts", picture, json={"numbers": numbers}
        )
        if answer is not None and answer.status_code == 200:
            self.put_parts(upload | answer.json(), body)

    # --- what never becomes an image --------------------------------------------------------------

    def send_a_bad_one(self) -> None:
        body = pictures.truncated(a_jpeg(self.dice))
        picture = self.new(body)
        headers = {"Content-Type": JPEG, "Idempotency-Key": picture.sha256}
        answer = self.insist(
            "POST", f"/images?wait={self.wait}", picture, content=body, headers=headers
        )
        if answer is not None and code_of(answer) != "upload_expired":
            self.expect(answer, "a bad picture", 202, 422)

    def give_up(self) -> None:
        body = a_jpeg(self.dice)
        if upload := self.announced(self.new(body), body):
            self.put(upload, body)

    def withdraw(self) -> None:
        body = a_jpeg(self.dice)
        picture = self.new(body)
        if upload := self.announced(picture, body):
            self.put(upload, body)
            answer = self.insist("DELETE", f"/uploads/{picture.id}", picture)
            if answer is not None:
                self.expect(answer, "a withdrawal", 204, 404)

    # --- what is done with a picture ------------------------------------------------------------

    def one(self, *states: State) -> Picture | None:
        """One of mine that is known to be in one of these states."""
        known = [p for p in self.mine[-50:] if p.is_settled and p.possible <= set(states)]
        return self.dice.choice(known) if known else None

    def waits(self, picture: Picture) -> bool:
        """Not an image yet: it was only accepted."""
        answer = self.insist("GET", f"/uploads/{picture.id}", picture)
        return answer is None or answer.status_code != 200 or answer.json()["state"] != "kept"

    def change(self) -> None:
        picture = self.one(State.KEPT)
        if picture is None or self.waits(picture):
            return
        tag = f"t{self.dice.randrange(100)}"
        answer = self.ask("PATCH", f"/images/{picture.id}", picture, json={"tags": [tag]})
        if answer is None or answer.status_code == 503:
            picture.tags |= {tag}
            picture.is_settled = False
        elif self.expect(answer, "a change", 200):
            picture.tags = frozenset({tag})

    def trash(self) -> None:
        self.move("DELETE", "", State.KEPT, State.TRASHED, 204)

    def restore(self) -> None:
        self.move("POST", "/restore", State.TRASHED, State.KEPT, 200)

    def move(self, method: str, path: str, start: State, end: State, status: int) -> None:
        picture = self.one(start)
        if picture is None or self.waits(picture):
            return
        answer = self.ask(method, f"/images/{picture.id}{path}", picture)
        if answer is None or answer.status_code == 503:
            picture.may_become(end)
        elif self.expect(answer, f"to be {end}", status):
            picture.become(end)

    def delete(self) -> None:
        picture = self.one(State.KEPT, State.TRASHED)
        if picture and not self.waits(picture):
            self.delete_for_good(picture)

    def delete_for_good(self, picture: Picture) -> None:
        answer = self.insist("DELETE", f"/images/{picture.id}?permanent=true", picture)
        if answer is None:
            picture.may_become(State.GONE)
        elif self.expect(answer, "a deletion", 204, 404):  # 404: done, and the answer was lost
            picture.become(State.GONE)
            picture.is_deleted = True

    def let_the_trash_grow_old(self) -> None:
        if picture := self.one(State.TRASHED):
            picture.may_become(State.GONE)
            self.deployment.execute(
                "UPDATE media_api_image SET trashed_at = now() - interval '31 days'"
                " WHERE id = %s AND trashed_at IS NOT NULL",
                picture.id,
            )

    # --- looking --------------------------------------------------------------------------------

    def look(self) -> None:
        picture = self.one(State.KEPT, State.TRASHED)
        if picture is None or self.waits(picture):
            return
        answer = self.ask("GET", f"/images/{picture.id}", picture)
        if answer is None or answer.status_code == 503:
            return
        if self.expect(answer, "an image that was acknowledged", 200):
            body = self.load(answer.json()["original"]["url"])
            if body is not None and sha256(body) != picture.sha256:
                self.history.surprise(f"C1: {picture.id} has other bytes")

    def load(self, address: str) -> bytes | None:
        try:
            answer = self.store.get(address)
        except httpx2.TransportError:
            return None
        return answer.content if answer.status_code == 200 else None

    def list(self) -> None:
        answer = self.ask("GET", "/images?limit=50")
        if answer is not None:
            self.expect(answer, "the list", 200, 503)


def code_of(answer: httpx2.Response) -> str:
    """Of a refusal; else empty."""
    if answer.headers.get("Content-Type") != "application/problem+json":
        return ""
    return str(answer.json()["code"])


WHAT_PEOPLE_DO: dict[Callable[[Client], None], float] = {
    Client.send: 6,
    Client.send_without_a_key: 1,
    Client.send_directly: 4,
    Client.send_in_parts: 0.7,
    Client.send_a_bad_one: 1,
    Client.give_up: 0.7,
    Client.withdraw: 1,
    Client.change: 2,
    Client.trash: 3,
    Client.restore: 1,
    Client.delete: 2,
    Client.let_the_trash_grow_old: 0.7,
    Client.look: 2,
    Client.list: 1,
}
