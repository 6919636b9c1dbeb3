"""Two reach for the same thing at once, two hundred times: one of them wins, nothing is left over, nothing comes back.

They are threads with connections of their own, which set out together and are held up by dice. Each test names the
outcomes that there may be and has to see all of them: a race that never met would fail.
"""

import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from io import BytesIO
from itertools import cycle
from random import Random
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from media_api import examination, fsck, images, uploads
from media_api.exceptions import NotAnImage, Verdict
from media_api.models import Image, PendingDeletion, Upload, database_now
from media_api.sandbox import Facts
from media_api.storage import ImageStorage
from media_api.uploads import Announcement
from tests import pictures
from tests.conftest import Work, client_of, objects
from tests.sending import API, Answer, announce, complete, send, sha256
from tests.test_invariants import two_hours_pass

LOOPS = 200
CROWD = 50
BODY = pictures.jpeg(8, 6)
OTHER = BODY[::-1]

Act = Callable[[], Any]
Meet = Callable[..., tuple[Any, ...]]


@pytest.fixture
def meet() -> Iterator[Meet]:
    """Do these at once, each held up by a part of so many seconds; what came of each."""
    dice = Random(5)
    with ThreadPoolExecutor(CROWD) as pool:

        def meet(*acts: Act, within: Sequence[float] = CROWD * (0.01,)) -> tuple[Any, ...]:
            together = threading.Barrier(len(acts))

            def set_out(act: Act, delay: float) -> Any:
                together.wait()
                time.sleep(delay)
                return act()

            under_way = [
                pool.submit(set_out, act, dice.uniform(0, most))
                for act, most in zip(acts, within, strict=False)
            ]
            return tuple(one.result() for one in under_way)

        yield meet
        meet(*[connections.close_all] * CROWD)


@pytest.fixture(scope="module")
def facts() -> Facts:
    """Of the one picture that is sent here."""
    with tempfile.TemporaryFile() as file:
        file.write(BODY)
        return examination.decode(file)


def status(ask: Callable[..., Answer], *arguments: Any, **options: Any) -> int:
    code: int = ask(*arguments, **options).status_code
    return code


# --- before and after -----------------------------------------------------------------------------


def sent(owner: User, storage: ImageStorage, count: int = LOOPS) -> list[Upload]:
    """Announced, and their bytes are in the bucket."""
    announcement = Announcement("cat.jpg", len(BODY), "image/jpeg")
    drafts = [uploads.drafted(owner, announcement, in_parts=False) for _ in range(count)]
    for upload in Upload.objects.bulk_create(drafts):
        storage.stage(upload.key, BytesIO(BODY), size=len(BODY), content_type="image/jpeg")
    return drafts


def staged(owner: User, storage: ImageStorage, count: int = LOOPS) -> list[Upload]:
    """Completed too, but for the jobs: they are done here."""
    drafts = sent(owner, storage, count)
    Upload.objects.of(owner).update(state=Upload.State.STAGED, staged_at=database_now())
    return list(Upload.objects.filter(id__in=[upload.id for upload in drafts]))


def keep(upload: Upload, facts: Facts) -> None:
    """The job of a worker that has decoded it, which is no part of the race. A verdict is that it comes too late."""
    with tempfile.TemporaryFile() as file, suppress(Verdict):
        file.write(BODY)
        examination.settle_hash(upload, sha256(BODY))
        examination.keep(upload, facts, examination.put_objects(upload, file, facts))


def kept(owner: User, storage: ImageStorage, facts: Facts) -> list[Image]:
    for upload in staged(owner, storage):
        keep(upload, facts)
    return list(Image.objects.of(owner))


def assert_all_is_well(ids: Iterable[uuid.UUID] = ()) -> None:
    """Two hours later these images are there, whole, and nothing else is. Conftest looks at what is used."""
    two_hours_pass()
    assert {image.id for image in Image.objects.all()} == set(ids)
    found = [finding for place in fsck.places() for finding in fsck.look_into(place, quick=True)]
    assert [*found, *fsck.look_into_staging()] == []
    assert not Upload.objects.living().exists()
    assert not PendingDeletion.objects.exists()


# --- an upload ------------------------------------------------------------------------------------


def withdraw(client: APIClient, upload: Upload) -> int:
    return status(client.delete, f"{API}/uploads/{upload.id}")


def test_fifty_complete_at_once(alice: User, storage: ImageStorage, meet: Meet, work: Work) -> None:
    """Four uploads, and two hundred who say that they are there."""
    clients = [client_of(alice) for _ in range(CROWD)]
    four = sent(alice, storage, LOOPS // CROWD)
    for upload in four:
        acts = [partial(status, complete, client, str(upload.id)) for client in clients]
        assert set(meet(*acts)) == {202}
    assert ProcrastinateJob.objects.count() == len(four)
    work()
    assert_all_is_well([upload.id for upload in four])


def test_withdrawn_while_it_is_completed(
    api: APIClient, alice: User, storage: ImageStorage, meet: Meet, work: Work
) -> None:
    other, seen = client_of(alice), set()
    for upload in sent(alice, storage):
        completing = partial(status, complete, other, str(upload.id))
        seen.add(meet(completing, partial(withdraw, api, upload), within=(0.01, 0.03)))
    assert seen == {(202, 204), (404, 204)}
    work()
    assert_all_is_well()


def test_withdrawn_while_it_is_examined(
    api: APIClient, alice: User, storage: ImageStorage, meet: Meet
) -> None:
    promised, seen = [], set()
    for upload in staged(alice, storage):
        examining = partial(examination.examine, upload.id)
        _, answer = meet(examining, partial(withdraw, api, upload), within=(0.01, 0.08))
        seen.add(answer)
        promised += [upload.id] if answer == 409 else []
    assert seen == {204, 409}
    assert_all_is_well(promised)


def test_two_workers_on_one_job(
    alice: User, storage: ImageStorage, meet: Meet, facts: Facts
) -> None:
    """Both keep it; or one refuses it, as after a crash of the decoder."""
    promised, seen = [], set()
    for number, upload in enumerate(staged(alice, storage)):
        again = Upload.objects.get(id=upload.id)
        refusing = partial(examination.refuse, again, NotAnImage())
        other = refusing if number % 2 else partial(keep, again, facts)
        meet(partial(keep, upload, facts), other, within=(0.01, 0.04))
        is_kept = Image.objects.filter(id=upload.id).exists()
        is_refused = Upload.objects.filter(id=upload.id, state=Upload.State.REFUSED).exists()
        seen.add((number % 2, is_kept, is_refused))
        promised += [upload.id] if is_kept else []
    assert seen == {(0, True, False), (1, True, False), (1, False, True)}
    assert_all_is_well(promised)


def test_sent_again_while_it_is_kept_and_while_it_is_deleted(
    alice: User, storage: ImageStorage, meet: Meet, facts: Facts
) -> None:
    """The address of a PUT lives on. What comes by it changes nothing, and is swept.

    (rclone may answer 500 where the object is removed at the same moment.)
    """
    staying, seen = [], set()
    with httpx2.Client() as http:
        for number, upload in enumerate(staged(alice, storage)):
            way = uploads.presign_put(upload)
            again = partial(http.put, way["url"], content=OTHER, headers=way["headers"])
            meet(partial(keep, upload, facts), again, within=(0.01, 0.05))
            if number % 2:
                meet(partial(images.delete, Image.objects.filter(id=upload.id)), again)
            else:
                staying.append(upload.id)
                seen.add(storage.size_of(upload.key) is not None)
    assert seen == {True, False}
    assert_all_is_well(staying)
    assert all(storage.read(image.path) == BODY for image in Image.objects.all())


# --- an image -------------------------------------------------------------------------------------


def test_deleted_while_it_is_looked_at(
    api: APIClient, alice: User, storage: ImageStorage, meet: Meet, facts: Facts, work: Work
) -> None:
    other, pages, seen = client_of(alice), Client(raise_request_exception=False), set()
    pages.force_login(alice)
    ways: list[tuple[Callable[..., Answer], str]] = [
        (api.get, f"{API}/images/{{}}"),
        (api.get, f"{API}/images/{{}}/content"),
        (api.get, f"{API}/images"),
        (pages.get, "/images/{}/"),
        (pages.get, "/images/{}/edit/"),
        (pages.get, "/i/{}/320/"),
        (pages.get, "/"),
        (partial(api.patch, data={"name": "x"}, format="json"), f"{API}/images/{{}}"),
    ]
    for image, (ask, address) in zip(kept(alice, storage, facts), cycle(ways), strict=False):
        looking = partial(status, ask, address.format(image.id))
        deleting = partial(status, other.delete, f"{API}/images/{image.id}?permanent=true")
        seen.add(meet(looking, deleting, within=(0.02, 0.02)))
    assert seen == {(200, 204), (302, 204), (404, 204)}
    work()
    assert_all_is_well()


def test_restored_while_the_trash_is_emptied(
    api: APIClient, alice: User, storage: ImageStorage, meet: Meet, facts: Facts
) -> None:
    def empty() -> None:
        images.empty_old_trash()
        images.purge_due()

    restored, seen = [], set()
    for image in kept(alice, storage, facts):
        Image.objects.filter(id=image.id).update(trashed_at=database_now() - timedelta(days=31))
        answer, _ = meet(partial(status, api.post, f"{API}/images/{image.id}/restore"), empty)
        seen.add(answer)
        restored += [image.id] if answer == 200 else []
    assert seen == {200, 404}
    assert_all_is_well(restored)


# --- an owner -------------------------------------------------------------------------------------


def test_the_owner_is_deleted_during_an_upload(storage: ImageStorage, meet: Meet) -> None:
    """Who announces, who sends, and the worker."""

    def act(number: int, owner: User) -> Act:
        if number % 3 == 2:
            return partial(examination.examine, staged(owner, storage, 1)[0].id)
        return partial(status, [announce, send][number % 3], client_of(owner), BODY)

    seen = set()
    for number in range(LOOPS):
        owner = User.objects.create_user(str(number))
        deleting = User.objects.get(id=owner.id).delete
        seen.add(meet(act(number, owner), deleting, within=(0.01, 0.08))[0])
    assert seen == {201, 202, 401, 404, None}
    assert not User.objects.exists()
    assert_all_is_well()
    assert objects(storage) == []
