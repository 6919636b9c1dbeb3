"""What must be true when all is healed and the sweeps have run, whatever happened before: nine columns.

It asks as clients do, reads the tables and the bucket as an operator could, and believes nothing that the service says
of itself. Each finding begins with its column.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import httpx2

from tests.chaos.deployment import Deployment
from tests.chaos.history import History, Picture, State
from tests.listening import SECRETS
from tests.sending import API
from tests.services import BUCKET_NAME

COLUMNS = {
    "C1": "an acknowledged image is lost, or has other bytes",
    "C2": "an image that was deleted for good is there",
    "C3": "a list is not what the history allows",
    "C4": "a row has not its objects",
    "C5": "an object has no row",
    "C6": "something is stuck",
    "C7": "what is used is not the sum",
    "C8": "a request was answered wrongly, or too late",
    "C9": "a secret is in a log",
}
TOO_LONG = 30  # seconds

STUCK = """
SELECT 'upload ' || id || ' is ' || state FROM media_api_upload WHERE state IN ('announced', 'staged')
UNION ALL
SELECT 'job ' || task_name || ' is ' || status FROM procrastinate_jobs
WHERE task_name IN ('examine', 'describe', 'purge')
UNION ALL
SELECT 'deletion of ' || id FROM media_api_pendingdeletion
UNION ALL
SELECT 'nothing is removed, as if something had been restored' FROM media_api_installation
WHERE restored_at IS NOT NULL
"""
ROWS = """
SELECT id::text, path, stripped_path, size, sha256, sides, derived, name, tags FROM media_api_image
"""
USED = """
SELECT owner_id, used, there FROM media_api_usage FULL JOIN (
    SELECT owner_id, sum(size) AS there
    FROM (SELECT owner_id, size FROM media_api_image
          UNION ALL SELECT owner_id, size FROM media_api_upload WHERE state IN ('announced', 'staged')) AS each
    GROUP BY owner_id
) AS sums USING (owner_id)
WHERE coalesce(used, 0) <> coalesce(there, 0)
"""


class Checker:
    def __init__(self, deployment: Deployment, history: History) -> None:
        self.deployment, self.history = deployment, history

    def found(self) -> list[str]:
        with ExitStack() as stack:
            for client in self.clients.values():
                stack.enter_context(client)
            return self.all_of_it()

    def all_of_it(self) -> list[str]:
        return [
            *self.history.surprises,
            *self.acknowledged(),
            *self.deleted(),
            *self.lists(),
            *self.rows(),
            *self.left_over(),
            *self.stuck(),
            *self.usage(),
            *self.answers(),
            *self.secrets(),
        ]

    # --- what clients see -----------------------------------------------------------------------

    @cached_property
    def clients(self) -> dict[str, httpx2.Client]:
        return {
            owner: httpx2.Client(
                base_url=self.deployment.addresses.api,
                headers={"Authorization": f"Bearer {key}"},
                timeout=TOO_LONG,
                trust_env=False,
            )
            for owner, key in self.deployment.addresses.keys.items()
        }

    @cached_property
    def seen(self) -> list[tuple[str, State, dict[str, Any]]]:
        """Every image of every owner, as the lists have them."""
        places = {State.KEPT: "/images", State.TRASHED: "/images/trash"}
        return [
            (owner, state, image)
            for owner in self.clients
            for state, path in places.items()
            for image in self.pages(owner, path)
        ]

    def pages(self, owner: str, path: str) -> Iterator[dict[str, Any]]:
        address: str | None = f"{API}{path}?limit=200"
        while address:
            page = self.clients[owner].get(address).raise_for_status().json()
            yield from page["results"]
            address = page["next"]

    def acknowledged(self) -> Iterator[str]:
        images = {(owner, image["sha256"]): image for owner, _, image in self.seen}
        for picture in self.history.pictures:
            image = images.get((picture.owner, picture.sha256))
            if image is None:
                if picture.must_be_there:
                    yield f"C1: {picture.id} of {picture.owner} is lost"
                continue
            body = httpx2.get(image["original"]["url"], timeout=TOO_LONG, trust_env=False).content
            if hashlib.sha256(body).hexdigest() != picture.sha256:
                yield f"C1: {image['id']} has other bytes"

    def deleted(self) -> Iterator[str]:
        for picture in self.history.pictures:
            if not picture.is_deleted:
                continue
            address = f"{API}/images/{picture.id}"
            status = self.clients[picture.owner].get(address).status_code
            if status != 404:
                yield f"C2: {picture.id} is answered {status}"
            if left := [key for key in self.objects if f"/{picture.id}" in key]:
                yield f"C2: of {picture.id} there is {left}"

    def lists(self) -> Iterator[str]:
        counted = Counter((owner, image["sha256"]) for owner, _, image in self.seen)
        known = {(p.owner, p.sha256): p for p in self.history.pictures}
        for key, count in counted.items():
            if count > 1:
                yield f"C3: {key} is there {count} times"
        for owner, state, image in self.seen:
            picture = known.get((owner, image["sha256"]))
            if picture is None:
                yield f"C3: nobody sent {image['id']} of {owner}"
            elif state not in picture.possible:
                yield f"C3: {image['id']} is {state}, not {sorted(picture.possible)}"
            elif not self.is_labelled(picture, image["tags"]):
                yield f"C3: {image['id']} has {image['tags']}, not {sorted(picture.tags)}"

    def is_labelled(self, picture: Picture, tags: list[str]) -> bool:
        return (tags[0] if tags else "") in picture.tags

    # --- rows and objects -----------------------------------------------------------------------

    @cached_property
    def objects(self) -> dict[str, int]:
        """Sizes by key."""
        listed = self.deployment.root.list_objects(BUCKET_NAME, recursive=True)
        return {
            stored.object_name: stored.size or 0
            for stored in listed
            if stored.object_name and not stored.is_dir
        }

    def read(self, key: str) -> bytes | None:
        if key not in self.objects:
            return None
        with self.deployment.root.get_object(BUCKET_NAME, key) as answer:
            return answer.read()

    @cached_property
    def expected(self) -> dict[str, tuple[int, str]]:
        """Size and SHA-256 by key, of all that the rows say, but for the descriptions."""
        expected = {}
        for id, path, stripped, size, sha256, sides, derived, *_ in self.deployment.execute(ROWS):
            expected[path] = size, sha256
            parts = {f"{side}.webp" for side in sides} | {stripped.rpartition("/")[2]}
            for part in parts - {path.rpartition("/")[2]}:
                digest = derived.get(part, {"size": -1, "sha256": "unknown"})
                expected[f"images/{id}/{part}"] = digest["size"], digest["sha256"]
        return expected

    def rows(self) -> Iterator[str]:
        for key, (size, sha256) in self.expected.items():
            body = self.read(key)
            if body is None:
                yield f"C4: {key} is missing"
            elif (len(body), hashlib.sha256(body).hexdigest()) != (size, sha256):
                yield f"C4: {key} is not what its row says"
        for id, *_, name, tags in self.deployment.execute(ROWS):
            told = json.loads(self.read(f"images/{id}/image.json") or b"{}")
            if (told.get("name"), told.get("tags")) != (name, tags):
                yield f"C4: images/{id}/image.json is not what the row says"

    def left_over(self) -> Iterator[str]:
        explained = self.expected.keys() | {"_meta/epoch", "_meta/turn"}
        explained |= {f"{key.rpartition('/')[0]}/image.json" for key in self.expected}
        for key in self.objects.keys() - explained:
            yield f"C5: {key} has no row"

    def stuck(self) -> Iterator[str]:
        for (sentence,) in self.deployment.execute(STUCK):
            yield f"C6: {sentence}"

    def usage(self) -> Iterator[str]:
        for owner, used, there in self.deployment.execute(USED):
            yield f"C7: {owner} uses {there}, and the row says {used}"

    # --- what was said --------------------------------------------------------------------------

    def answers(self) -> Iterator[str]:
        for event in self.history.events:
            what = f"{event.asked} was answered {event.status} {event.code}"
            if (event.status or 0) >= 500 and not (event.status == 503 and event.retry_after):
                yield f"C8: {what}"
            if event.seconds > TOO_LONG:
                yield f"C8: {what} after {event.seconds:.0f} seconds"

    def secrets(self) -> Iterator[str]:
        environment = self.deployment.addresses.environment
        known = [value for name, value in environment.items() if "SECRET" in name]
        pattern = re.compile("|".join([SECRETS.pattern, *map(re.escape, known)]))
        for log in self.deployment.folder.glob("*.log"):
            for line in log.read_text(errors="replace").splitlines():
                if pattern.search(line):
                    yield f"C9: {log.name}: {line[:200]}"
