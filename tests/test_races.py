"""Two reach for the same thing at once, two hundred times: one of them wins, nothing is left over, nothing comes back.

They are threads with connections of their own, which set out together and are held up by dice; some races go on
beside each other. Each test names the outcomes that there may be and has to see all of them: a race that never met
would fail.
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
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from media_api import examination, fsck, images, uploads
from media_api.exceptions import NotAnImage, Verdict
from media_api.models import Image, PendingDeletion, Upload, database_now
from media_api.sandbox import Facts
from media_api.storage import ImageStorage
from media_api.uploads import Announcement
from tests import pictures
from tests.conftest import Work, client_of, objects, visitor
from tests.sending import API, Answer, announce, complete, send, sha256
from tests.test_invariants import two_hours_pass

LOOPS = 200
CROWD = 50
BESIDE = 5
BODY = pictures.jpeg(8, 6)
OTHER = BODY[::-1]

Act = Callable[[], Any]
Meet = Callable[..., tuple[Any, ...]]
Race = Callable[..., list[tuple[Any, ...]]]


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
                pool.submit(set_out, act, most * dice.random() ** 2)
                for act, most in zip(acts, within, strict=False)
            ]
            return tuple(one.result() for one in under_way)

        yield meet
        meet(*[connections.close_all] * CROWD)


@pytest.fixture
def race(meet: Meet) -> Iterator[Race]:
    """Let all these meet, a few pairs at a time; what came of each, in their order."""
    with ThreadPoolExecutor(BESIDE) as pool:

        def race(
            pairs: Iterable[tuple[Act, Act]], **held_up: Sequence[float]
        ) -> list[tuple[Any, ...]]:
            return list(pool.map(lambda pair: meet(*pair, **held_up), pairs))

        yield race


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


def announced(owner: User, count: int = LOOPS) -> list[Upload]:
    announcement = Announcement("cat.jpg", len(BODY), "image/jpeg")
    drafts = [uploads.drafted(owner, announcement, in_parts=False) for _ in range(count)]
    for draft in drafts:
        uploads.write(draft)
    return drafts


def sent(owner: User, storage: ImageStorage, count: int = LOOPS) -> list[Upload]:
    """Announced, and their bytes are in the bucket."""
    drafts = announced(owner, count)
    for upload in drafts:
        storage.stage(upload.key, BytesIO(BODY), size=len(BODY), content_type="image/jpeg")
    return drafts


def staged(drafts: list[Upload]) -> list[Upload]:
    """Completed too, but for the jobs: they are done here."""
    these = Upload.objects.filter(id__in=[upload.id for upload in drafts])
    these.update(state=Upload.State.STAGED, staged_at=database_now())
    return list(these)


def keep(upload: Upload, facts: Facts) -> None:
    """The job of a worker that has decoded it, which is no part of the race. A verdict is that it comes too late."""
    with tempfile.TemporaryFile() as file, suppress(Verdict):
        file.write(BODY)
        examination.settle_hash(upload, sha256(BODY))
        examination.keep(upload, facts, examination.put_objects(upload, file, facts))


def kept(owner: User, facts: Facts) -> list[Image]:
    """As they are long after they were uploaded."""
    announcement = Announcement("cat.jpg", len(BODY), "image/jpeg", sha256(BODY))
    images = []
    with tempfile.TemporaryFile() as file:
        file.write(BODY)
        for _ in range(LOOPS):
            upload = uploads.drafted(owner, announcement, in_parts=False)
            upload.sha256, upload.staged_at = sha256(BODY), database_now()
            derived = examination.put_objects(upload, file, facts)
            images.append(examination.image_of(upload, facts, derived))
    return Image.objects.bulk_create(images)


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
    api: APIClient, alice: User, storage: ImageStorage, race: Race, work: Work
) -> None:
    pairs = [
        (partial(status, complete, api, str(upload.id)), partial(withdraw, api, upload))
        for upload in sent(alice, storage)
    ]
    assert set(race(pairs, within=(0.01, 0.03))) == {(202, 204), (404, 204)}
    work()
    assert_all_is_well()


def test_withdrawn_while_it_is_examined(
    api: APIClient, alice: User, storage: ImageStorage, race: Race
) -> None:
    all_of_them = staged(sent(alice, storage))
    pairs = [
        (partial(examination.examine, upload.id), partial(withdraw, api, upload))
        for upload in all_of_them
    ]
    answers = [answer for _, answer in race(pairs, within=(0.01, 0.4))]
    assert set(answers) == {204, 409}
    assert_all_is_well(
        upload.id for upload, answer in zip(all_of_them, answers, strict=True) if answer == 409
    )


def test_two_workers_on_one_job(
    alice: User, storage: ImageStorage, race: Race, facts: Facts
) -> None:
    """Both keep it; or one refuses it, as after a crash of the decoder."""
    pairs = list[tuple[Act, Act]]()
    both_keep, one_refuses = set[uuid.UUID](), set[uuid.UUID]()
    for number, upload in enumerate(staged(announced(alice))):
        again = Upload.objects.get(id=upload.id)
        refusing = partial(examination.refuse, again, NotAnImage())
        pairs.append(
            (partial(keep, upload, facts), refusing if number % 2 else partial(keep, again, facts))
        )
        (one_refuses if number % 2 else both_keep).add(upload.id)
    race(pairs, within=(0.01, 0.3))
    promised = set(Image.objects.values_list("id", flat=True))
    refused = set(Upload.objects.filter(state=Upload.State.REFUSED).values_list("id", flat=True))
    assert promised | refused == both_keep | one_refuses
    assert promised & refused == set()
    assert promised > both_keep
    assert refused
    assert_all_is_well(promised)


def test_sent_again_while_it_is_kept_and_while_it_is_deleted(
    alice: User, storage: ImageStorage, race: Race, facts: Facts
) -> None:
    """The address of a PUT lives on. What comes by it changes nothing, and is swept.

    (rclone may answer 500 where the object is removed at the same moment.)
    """

    def sending(upload: Upload) -> Act:
        return partial(
            http.put, ways[upload]["url"], content=OTHER, headers=ways[upload]["headers"]
        )

    all_of_them = staged(announced(alice))
    ways = {upload: uploads.presign_put(upload) for upload in all_of_them}
    staying, going = all_of_them[::2], all_of_them[1::2]
    with httpx2.Client() as http:
        keeping = [(partial(keep, upload, facts), sending(upload)) for upload in all_of_them]
        race(keeping, within=(0.01, 0.3))
        arrived = set(storage.keys("staging/"))
        deleting = [
            (partial(images.delete, Image.objects.filter(id=upload.id)), sending(upload))
            for upload in going
        ]
        race(deleting)
    assert {upload.key in arrived for upload in staying} == {True, False}
    assert_all_is_well(upload.id for upload in staying)
    assert all(storage.read(image.path) == BODY for image in Image.objects.all())


# --- an image -------------------------------------------------------------------------------------


def test_deleted_while_it_is_looked_at(
    api: APIClient, alice: User, storage: ImageStorage, race: Race, facts: Facts, work: Work
) -> None:
    pages = visitor()
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
    pairs = [
        (
            partial(status, ask, address.format(image.id)),
            partial(status, api.delete, f"{API}/images/{image.id}?permanent=true"),
        )
        for image, (ask, address) in zip(kept(alice, facts), cycle(ways), strict=False)
    ]
    assert set(race(pairs, within=(0.02, 0.02))) == {(200, 204), (302, 204), (404, 204)}
    assert_all_is_well()
    work()  # by now the jobs of all of them are late
    assert objects(storage) == []


def test_restored_while_the_trash_is_emptied(
    api: APIClient, alice: User, meet: Meet, facts: Facts
) -> None:
    def empty() -> None:
        images.empty_old_trash()
        images.purge_due()

    ids = [image.id for image in kept(alice, facts)]
    answers = list[int]()
    for few in (ids[start : start + BESIDE] for start in range(0, LOOPS, BESIDE)):
        old = database_now() - timedelta(days=31)
        Image.objects.filter(id__in=few).update(trashed_at=old)
        restoring = [partial(status, api.post, f"{API}/images/{id}/restore") for id in few]
        answers += meet(*restoring, empty, within=(*BESIDE * (0.1,), 0.01))[:-1]
    assert set(answers) == {200, 404}
    assert_all_is_well(id for id, answer in zip(ids, answers, strict=True) if answer == 200)


# --- an owner -------------------------------------------------------------------------------------


def test_the_owner_is_deleted_during_an_upload(storage: ImageStorage, race: Race) -> None:
    """Who announces, who sends, and the worker."""

    def act(number: int, owner: User) -> Act:
        if number % 3 == 2:
            return partial(examination.examine, staged(sent(owner, storage, 1))[0].id)
        return partial(status, [announce, send][number % 3], client_of(owner), BODY)

    owners = User.objects.bulk_create(User(username=str(number)) for number in range(LOOPS))
    pairs = [(act(number, owner), owner.delete) for number, owner in enumerate(owners)]
    seen = {answer for answer, _ in race(pairs, within=(0.1, 0.1))}
    assert seen == {201, 202, 401, 404, None}
    assert not User.objects.exists()
    assert_all_is_well()
    assert objects(storage) == []
