"""What must hold of the store, asked at S3_ENDPOINT_URL.

Probes lie under `staging/` and no row explains them: whatever is left of a doctor who was killed is swept. Where a
refusal is expected outside of `staging/`, what is sent has a wrong checksum, so that nothing is stored even if it is
let in.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from django.conf import settings

from media_api import holds
from media_api.epoch import require_own_bucket
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.models import staging_key
from media_api.presign import NOTHING, Credentials, presign
from media_api.storage import EPOCH_KEY, image_storage

from .asking import Answer, ask
from .findings import Finding, clock, fail, note, ok, start_it, warn

BODY, TYPE = b"doctor", "image/png"
WRONG_CHECKSUM = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
UNSAFE_STORE = "This store does not check what it must: use another one (docs/configure.md)."


def answers() -> Finding:
    """Somebody answers there, whatever it says."""
    endpoint = image_storage().endpoint_url
    remedy = start_it("See whether the store runs, and S3_ENDPOINT_URL.")
    if not endpoint:
        return fail("There is no address of a store yet.", remedy)
    try:
        ask("GET", endpoint)
    except OSError as error:
        return fail(f"Nothing answers at {endpoint}: {error.strerror or error}.", remedy)
    return ok(f"{endpoint} answers.")


def clocks_agree() -> Finding:
    date = ask("GET", image_storage().endpoint_url).headers["Date"]
    if date is None:
        return note("The store does not say what time it has.")
    return clock("the store", (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())


def lets_us_in() -> Finding:
    storage = image_storage()
    try:
        next(storage.keys(""), None)
    except StorageUnavailable as error:
        if reason(error) == "NoSuchBucket":
            return fail(
                f"The store has no bucket {storage.bucket_name}.",
                "See S3_BUCKET, or run `manage.py prepare_bucket`.",
            )
        return fail(
            f"The store refuses S3_ACCESS_KEY_ID: {reason(error)}.",
            "See S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY, S3_REGION, and the policy (minio/app.json).",
        )
    return ok(f"The bucket {storage.bucket_name} is open to S3_ACCESS_KEY_ID.")


def reason(error: StorageUnavailable) -> str:
    """The store's error code, or what went wrong on the way to it."""
    answer = getattr(error.__cause__, "response", None)
    return str(answer["Error"]["Code"]) if answer else type(error.__cause__).__name__


def is_ours() -> Finding:
    try:
        require_own_bucket()
    except FileNotFoundError:
        return fail("No installation owns the bucket yet.", "Run `manage.py prepare_bucket`.")
    except ForeignBucket as error:
        return fail(
            str(error),
            "See S3_BUCKET and DATABASE_URL: one database and one bucket belong together.",
        )
    return ok(f"{EPOCH_KEY} is that of this database.")


def is_cleared() -> Finding:
    """Of what is deleted. Here it is only looked at; who removes something takes note of it."""
    if sentence := holds.restored():
        return warn(sentence, holds.CONFIRM)
    if ahead := holds.steps_ahead():
        older, newer = ("database", "bucket") if ahead > 0 else ("bucket", "database")
        return warn(
            f"The {older} is older than the {newer}, so one of them was restored.", holds.CONFIRM
        )
    if sentence := holds.backing_up():
        return note(sentence)
    return ok("What is deleted is removed from it.")


def is_private() -> Finding:
    opened = image_storage().open_to_all()
    with probe() as key:
        address = signed("PUT", key, by=image_storage().uploader).partition("?")[0]
        if not ask("PUT", address, body=BODY).is_refusal:
            opened.append("put objects")
    if opened:
        return fail(
            f"Without any key, anybody can {' and '.join(opened)}.",
            "Take the public policy or ACL from the bucket (`mc anonymous set none`; AWS: Block Public Access).",
        )
    return ok("Who has no key can neither list, read nor write.")


@contextmanager
def probe() -> Iterator[str]:
    """A key to try things with, which holds nothing in the end."""
    key = staging_key(uuid.uuid4())
    try:
        yield key
    finally:
        image_storage().remove([key])


def signed(
    method: str,
    key: str,
    *,
    by: Credentials,
    at: datetime | None = None,
    headers: Mapping[str, str] = NOTHING,
    query: Mapping[str, str] = NOTHING,
) -> str:
    """A URL for the address that we ourselves use. It lives for a minute from `at`, or from now."""
    storage = image_storage()
    return presign(
        method,
        key,
        bucket=replace(storage.public, endpoint=storage.endpoint_url),
        credentials=by,
        at=int((at or datetime.now(UTC)).timestamp()),
        expires=60,
        headers=headers,
        query=query,
    )


def put(
    key: str,
    *,
    body: bytes = BODY,
    content_type: str = TYPE,
    at: datetime | None = None,
    headers: Mapping[str, str] = NOTHING,
) -> Answer:
    """Send something by an upload URL for BODY and TYPE. `headers` are signed too."""
    announced = {"Content-Length": str(len(BODY)), "Content-Type": TYPE, **headers}
    url = signed("PUT", key, by=image_storage().uploader, at=at, headers=announced)
    return ask("PUT", url, body=body, headers={**headers, "Content-Type": content_type})


def takes_uploads() -> Finding:
    with probe() as key:
        answer = put(key)
        if not answer.is_success or image_storage().read(key) != BODY:
            return fail(
                f"What is put by an upload URL does not arrive: {answer}.",
                "See S3_UPLOAD_ACCESS_KEY_ID, S3_UPLOAD_SECRET_ACCESS_KEY, and the policy (minio/upload.json).",
            )
    return ok("What is put by an upload URL is there.")


def holds_length() -> Finding:
    with probe() as key:
        return refused(
            "The length of an upload is held to",
            {
                "a longer body than was signed": lambda: put(key, body=BODY + b"!"),
                "a shorter body than was signed": lambda: put(key, body=BODY[:-1]),
            },
        )


def holds_type() -> Finding:
    with probe() as key:
        return refused(
            "The type of an upload is held to",
            {"another type than was signed": lambda: put(key, content_type="text/html")},
        )


def holds_expiry() -> Finding:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    link = signed("GET", EPOCH_KEY, by=image_storage().viewer, at=hour_ago)
    with probe() as key:
        return refused(
            "URLs die when they should",
            {
                "an upload whose time is over": lambda: put(key, at=hour_ago),
                "a link whose time is over": lambda: ask("GET", link),
            },
        )


def refused(well: str, tries: Mapping[str, Callable[[], Answer]]) -> Finding:
    let_in = [what for what, attempt in tries.items() if not attempt().is_refusal]
    if let_in:
        return fail(f"The store lets in {' and '.join(let_in)}.", UNSAFE_STORE)
    return ok(f"{well}.")


def upload_identity_only_puts() -> Finding:
    storage = image_storage()
    if storage.uploader == storage.viewer:
        if settings.EMBEDDED:
            return note("One identity does everything: the embedded store has no other.")
        return fail(
            "Uploads are signed by the identity that can read all pictures.",
            "Give S3_UPLOAD_ACCESS_KEY_ID an identity of its own, with the policy of minio/upload.json.",
        )
    let_in = [what for what, is_let_in in _forbidden() if is_let_in]
    if let_in:
        return fail(
            f"The identity that signs uploads can {' and '.join(let_in)}.",
            "Give S3_UPLOAD_ACCESS_KEY_ID the policy of minio/upload.json and no other.",
        )
    return ok("The identity that signs uploads can put under staging/ and nothing else.")


def _forbidden() -> Iterator[tuple[str, bool]]:
    """What the identity that signs uploads must not do, and whether it can."""
    storage = image_storage()
    own, outside = storage.uploader, f"images/{uuid.uuid4()}/doctor"
    source = {"x-amz-copy-source": f"/{storage.bucket_name}/{EPOCH_KEY}"}
    with probe() as key:
        yield "read", not ask("GET", signed("GET", EPOCH_KEY, by=own)).is_refusal
        listing = signed("GET", "", by=own, query={"list-type": "2"})
        yield "list", not ask("GET", listing).is_refusal
        yield "delete", not ask("DELETE", signed("DELETE", key, by=own)).is_refusal
        copy = signed("PUT", key, by=own, headers=source)
        yield "copy", not ask("PUT", copy, headers=source).is_refusal
    url = signed("PUT", outside, by=own, headers=WRONG_CHECKSUM)
    answer = ask("PUT", url, body=BODY, headers=WRONG_CHECKSUM)
    if answer.is_success:
        storage.remove([outside])
    # 400 is said of the checksum, by a store that would have taken it.
    yield "put outside of staging/", answer.is_success or answer.status == 400


def puts_once() -> Finding:
    """A note where it is missing: keys are minted once, so nothing of ours relies on it."""
    with probe() as key:
        only_once = {"If-None-Match": "*"}
        first, second = put(key, headers=only_once), put(key, headers=only_once)
    if first.is_success and second.status == 412:
        return ok("A conditional PUT does not overwrite.")
    return note("A conditional PUT overwrites. Nothing relies on it: no key is ever used twice.")


def gives_ranges() -> Finding:
    storage = image_storage()
    with probe() as key:
        storage.keep(key, BODY, content_type=TYPE)
        url = signed("GET", key, by=storage.viewer)
        answer = ask("GET", url, headers={"Range": "bytes=1-3"})
    if (answer.status, answer.body) == (200, BODY[1:4]):
        return note(
            "A part of an object is given as 200, not 206: some clients cannot resume a download."
        )
    if (answer.status, answer.body) != (206, BODY[1:4]):
        return fail(
            f"The store does not give a part of an object: {answer}.",
            "Without ranges an interrupted download begins anew. See the store, or a proxy before it.",
        )
    return ok("A part of an object is given as such.")


def takes_parts() -> Finding:
    storage = image_storage()
    with probe() as key:
        joined, aborted = (storage.begin_parts(key, content_type=TYPE) for _ in range(2))
        try:
            storage.abort_parts(key, aborted)
            is_aborted = not _knows(key, aborted)
            answer = _put_part(key, joined)
            if answer.is_success:
                storage.join_parts(key, joined, storage.parts(key, joined))
        finally:
            storage.abort_parts(key, joined)
        if not answer.is_success or storage.read(key) != BODY:
            return fail(f"Uploads in parts do not arrive: {answer}.", UNSAFE_STORE)
    if not is_aborted:
        return fail("The store keeps parts of an upload that was aborted.", UNSAFE_STORE)
    return ok("Uploads in parts are joined, and aborted.")


def _put_part(key: str, multipart_id: str) -> Answer:
    url = signed(
        "PUT",
        key,
        by=image_storage().uploader,
        headers={"Content-Length": str(len(BODY))},
        query={"partNumber": "1", "uploadId": multipart_id},
    )
    return ask("PUT", url, body=BODY)


def _knows(key: str, multipart_id: str) -> bool:
    try:
        image_storage().parts(key, multipart_id)
    except FileNotFoundError:
        return False
    return True
