"""One contract for every store. Signatures are checked on those that check them (moto takes any)."""

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from urllib.parse import unquote

import httpx2
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from media_api.epoch import claim_bucket
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.presign import presign
from media_api.storage import EPOCH_KEY, IMMUTABLE, ImageStorage, Part, image_storage
from tests import faulty, pictures
from tests.conftest import emptied, objects, storage_options, store_down, stored_on
from tests.sending import sha256
from tests.services import HOST, Store

MiB = 1024 * 1024


@pytest.fixture(params=["rclone", "minio", "moto"])
def bucket(request: pytest.FixtureRequest) -> ImageStorage:
    """Each store in turn, empty."""
    return emptied(ImageStorage(**storage_options(request.getfixturevalue(request.param))))


@pytest.fixture
def strict(store: Store) -> ImageStorage:
    """Each store that looks at signatures, empty."""
    return emptied(ImageStorage(**storage_options(store)))


# --- what we keep ---------------------------------------------------------------------------------


def test_what_is_kept_reads_back(bucket: ImageStorage) -> None:
    for body in b"hello", BytesIO(b"hello"):
        bucket.keep("images/1/original.png", body, content_type="image/png")
        assert bucket.read("images/1/original.png") == b"hello"
        assert bucket.size_of("images/1/original.png") == 5


def test_a_file_is_kept_from_where_it_stands(bucket: ImageStorage) -> None:
    file = BytesIO(b"hello")
    file.read()
    file.seek(0)
    bucket.keep("images/1/original.png", file, content_type="image/png")
    assert bucket.read("images/1/original.png") == b"hello"


def test_type_and_caching_are_kept(bucket: ImageStorage) -> None:
    bucket.keep("images/1/original.png", b"x", content_type="image/png")
    head = bucket.client.head_object(Bucket=bucket.bucket_name, Key="images/1/original.png")
    assert (head["ContentType"], head["CacheControl"]) == ("image/png", IMMUTABLE)
    assert head["Metadata"] == {} or set(head["Metadata"]) == {"mtime"}


def test_many_are_kept_beside_each_other(bucket: ImageStorage) -> None:
    bodies = {f"images/1/{number}.webp": bytes([number]) * 1000 for number in range(10)}
    bucket.keep_all(bodies, content_type="image/webp")
    assert {key: bucket.read(key) for key in bucket.keys("images/")} == bodies
    bucket.keep_all({}, content_type="image/webp")


def test_when_one_is_not_kept_the_others_are_not_on_their_way_any_more(
    storage: ImageStorage, rclone: Store
) -> None:
    def some_fail(exchange: faulty.Exchange) -> None:
        (faulty.slow_down if "/320" in exchange.path else faulty.late)(exchange)

    proxy = faulty.Faulty(rclone)
    with stored_on(proxy.seen) as bucket, proxy.failing(some_fail):
        with pytest.raises(StorageUnavailable):
            bucket.keep_all({"images/1/320": b"x", "images/1/640": b"x"}, content_type="a/b")
        assert objects(storage) == ["images/1/640"]
    proxy.close()


def test_what_is_not_there(bucket: ImageStorage) -> None:
    assert bucket.size_of("images/none") is None
    assert list(bucket.keys("images/")) == []
    with pytest.raises(FileNotFoundError):
        bucket.read("images/none")
    with pytest.raises(FileNotFoundError):
        bucket.fetch("images/none", BytesIO(), limit=1)


def test_keys_are_found_by_their_beginning(bucket: ImageStorage) -> None:
    for key in "images/1/a", "images/1/b", "images/12/a", "staging/1":
        bucket.keep(key, b"x", content_type="image/png")
    assert sorted(bucket.keys("images/1/")) == ["images/1/a", "images/1/b"]
    assert sorted(bucket.keys("staging/")) == ["staging/1"]
    assert len(list(bucket.keys(""))) == 4


def test_what_is_removed_is_gone_and_may_be_removed_again(bucket: ImageStorage) -> None:
    bucket.keep("images/1/a", b"x", content_type="image/png")
    bucket.keep("images/1/b", b"x", content_type="image/png")
    for _ in range(2):
        bucket.remove(["images/1/a", "images/2/none"])
    assert list(bucket.keys("")) == ["images/1/b"]


def test_more_are_removed_than_a_store_removes_at_once(
    bucket: ImageStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("media_api.storage.MOST_KEYS", 2)
    keys = [
        f"images/{number}/{name}" for number, name in enumerate(["a", "ä &+<", "b\x1b", "c", "d"])
    ]
    for key in keys:
        bucket.keep(key, b"x", content_type="image/png")
    bucket.remove(keys[:4])
    assert list(bucket.keys("")) == keys[4:]
    bucket.remove([])


def test_what_the_store_does_not_say_to_be_removed_is_not(rclone: Store) -> None:
    proxy = faulty.Faulty(rclone)
    with stored_on(proxy.seen) as bucket:
        with proxy.failing(faulty.png_kept_back), pytest.raises(StorageUnavailable) as refusal:
            bucket.remove(["images/1/a.png", "images/1/a.webp"])
        assert refusal.value.kept_back == {"images/1/a.png"}
        with proxy.failing(faulty.captured), pytest.raises(StorageUnavailable):
            bucket.remove(["images/1/a.webp"])
    proxy.close()


def test_removal_is_asked_for_in_the_words_of_older_stores(rclone: Store) -> None:
    """Which want an MD5 and know no CRC-32."""
    sent = []

    def look(exchange: faulty.Exchange) -> None:
        sent.append({name.lower() for name in exchange.headers})
        faulty.healthy(exchange)

    proxy = faulty.Faulty(rclone)
    with stored_on(proxy.seen) as bucket, proxy.failing(look):
        bucket.remove(["images/none"])
    proxy.close()
    assert "content-md5" in sent[0]
    assert not any("checksum" in name for name in sent[0])


def test_to_make_the_bucket_may_be_repeated(bucket: ImageStorage) -> None:
    assert bucket.make_bucket() is False


# --- what arrives ---------------------------------------------------------------------------------


def test_what_is_staged_is_fetched(bucket: ImageStorage) -> None:
    body = pictures.large(600_000)
    bucket.stage("staging/1", BytesIO(body), size=len(body), content_type="image/png")
    file = BytesIO()
    assert bucket.fetch("staging/1", file, limit=len(body)) == (len(body), sha256(body))
    assert file.read() == body


@pytest.mark.parametrize("size", [0, 1, 99_999, 600_000])
def test_no_more_is_fetched_than_a_byte_over_the_limit(bucket: ImageStorage, size: int) -> None:
    bucket.stage("staging/1", BytesIO(b"x" * 600_001), size=600_001, content_type="image/png")
    file = BytesIO()
    fetched, _ = bucket.fetch("staging/1", file, limit=size)
    assert fetched == len(file.getvalue()) == size + 1


def test_parts_are_joined(strict: ImageStorage) -> None:
    upload_id = strict.begin_parts("staging/1", content_type="image/png")
    bodies = {1: b"a" * 5 * MiB, 2: b"b" * 1000}
    for number, body in bodies.items():
        url = strict.presign_part(
            "staging/1", upload_id, number=number, size=len(body), lifetime=60
        )
        assert httpx2.put(url, content=body).status_code == 200
    parts = strict.parts("staging/1", upload_id)
    assert [(part.number, part.size) for part in parts] == [(1, 5 * MiB), (2, 1000)]
    assert strict.open_parts("staging/1") == [("staging/1", upload_id)]
    assert strict.open_parts() == [("staging/1", upload_id)]
    assert strict.size_of("staging/1") is None
    strict.join_parts("staging/1", upload_id, parts)
    assert strict.read("staging/1") == b"".join(bodies.values())
    assert strict.open_parts() == []
    with pytest.raises(FileNotFoundError):
        strict.join_parts("staging/1", upload_id, parts)
    with pytest.raises(FileNotFoundError):
        strict.parts("staging/1", upload_id)


def test_parts_are_aborted(strict: ImageStorage) -> None:
    upload_id = strict.begin_parts("staging/1", content_type="image/png")
    url = strict.presign_part("staging/1", upload_id, number=1, size=10, lifetime=60)
    httpx2.put(url, content=b"x" * 10)
    for _ in range(2):
        strict.abort_parts("staging/1", upload_id)
    assert strict.open_parts() == []
    with pytest.raises(FileNotFoundError):
        strict.parts("staging/1", upload_id)
    with pytest.raises(FileNotFoundError):
        strict.join_parts("staging/1", upload_id, [Part(1, 10, '"x"')])
    assert list(strict.keys("")) == []


# --- what clients may send ------------------------------------------------------------------------


def upload_url(bucket: ImageStorage, *, size: int = 5, lifetime: int = 60) -> str:
    return bucket.presign_put("staging/1", size=size, content_type="image/png", lifetime=lifetime)


PNG = {"Content-Type": "image/png"}


def test_a_url_takes_what_was_announced(bucket: ImageStorage) -> None:
    assert httpx2.put(upload_url(bucket), content=b"hello", headers=PNG).status_code == 200
    assert bucket.read("staging/1") == b"hello"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"hell", PNG),
        (b"hello!", PNG),
        (b"", PNG),
        (b"hello", {"Content-Type": "text/html"}),
        (b"hello", {}),
        (b"hello", {**PNG, "x-amz-meta-evil": "1"}),
        (b"hello", {**PNG, "x-amz-copy-source": "/shoebox/images/1/original.png"}),
        (b"hello", {**PNG, "x-amz-decoded-content-length": "9", "x-amz-content-sha256": "0" * 64}),
    ],
)
def test_a_url_takes_nothing_else(
    strict: ImageStorage, body: bytes, headers: dict[str, str]
) -> None:
    answer = httpx2.put(upload_url(strict), content=body, headers=headers)
    assert answer.status_code in (400, 403), answer.text
    assert list(strict.keys("")) == []


@pytest.mark.parametrize("header", [{"x-amz-acl": "public-read"}, {"x-amz-tagging": "evil=1"}])
def test_a_header_that_is_not_signed_opens_nothing(
    strict: ImageStorage, header: dict[str, str]
) -> None:
    """MinIO takes these two; a tag stays with the staged object, which nobody is shown."""
    url = upload_url(strict)
    httpx2.put(url, content=b"hello", headers={**PNG, **header})
    assert httpx2.get(url.partition("?")[0]).status_code in (400, 403)


def test_a_url_of_one_key_is_of_no_other(strict: ImageStorage) -> None:
    strict.keep("images/1/original.png", b"kept", content_type="image/png")
    url = upload_url(strict)
    for other in "staging/2", "images/1/original.png", "images/2/original.png", "_meta/epoch":
        moved = url.replace("staging/1", other)
        assert httpx2.put(moved, content=b"hello", headers=PNG).status_code == 403
    for method in "GET", "DELETE", "POST":
        assert httpx2.request(method, url, headers=PNG).status_code in (400, 403, 405)
    assert strict.read("images/1/original.png") == b"kept"
    assert list(strict.keys("")) == ["images/1/original.png"]


def test_a_url_copies_nothing(strict: ImageStorage) -> None:
    """Some stores obey an unsigned x-amz-copy-source; the identity that signs uploads can read nothing."""
    strict.keep("images/1/original.png", b"secret", content_type="image/png")
    source = {"x-amz-copy-source": f"/{strict.bucket_name}/images/1/original.png"}
    answer = httpx2.put(upload_url(strict), content=b"hello", headers={**PNG, **source})
    assert answer.status_code in (400, 403)
    empty = strict.presign_put("staging/1", size=0, content_type="image/png", lifetime=60)
    assert httpx2.put(empty, headers={**PNG, **source, "Content-Length": "0"}).status_code in (
        400,
        403,
    )
    upload_id = strict.begin_parts("staging/1", content_type="image/png")
    part = strict.presign_part("staging/1", upload_id, number=1, size=6, lifetime=60)
    assert httpx2.put(part, content=b"secret", headers=source).status_code in (400, 403)
    strict.abort_parts("staging/1", upload_id)
    assert list(strict.keys("staging/")) == []


def test_whoever_signs_uploads_can_do_nothing_else(minio: Store) -> None:
    bucket = emptied(ImageStorage(**storage_options(minio)))
    bucket.keep("images/1/original.png", b"kept", content_type="image/png")
    at, own = int(time.time()), bucket.uploader
    for method, key in (
        ("GET", "images/1/original.png"),
        ("PUT", "images/1/original.png"),
        ("DELETE", "images/1/original.png"),
        ("GET", "staging/1"),
        ("GET", ""),
    ):
        url = presign(method, key, bucket=bucket.public, credentials=own, at=at, expires=60)
        assert httpx2.request(method, url).status_code == 403, (method, key)
    assert bucket.read("images/1/original.png") == b"kept"


def test_urls_die(strict: ImageStorage) -> None:
    strict.keep("images/1/a", b"x", content_type="image/png")
    url = upload_url(strict, lifetime=1)
    strict.link_window = 1
    link = strict.link("images/1/a", content_type="image/png").url
    assert httpx2.get(link).status_code == 200
    time.sleep(2.1)
    assert httpx2.put(url, content=b"hello", headers=PNG).status_code in (400, 403)
    longer = "X-Amz-Expires=604800"
    for late in link, f"{link}&{longer}", link.replace("?", f"?{longer}&"):
        assert httpx2.get(late).status_code in (400, 403), late
    for late in f"{url}&{longer}", url.replace("?", f"?{longer}&"):
        assert httpx2.put(late, content=b"hello", headers=PNG).status_code in (400, 403), late
    assert list(strict.keys("staging/")) == []


# --- what viewers get -----------------------------------------------------------------------------


def test_a_link_shows_an_object(bucket: ImageStorage) -> None:
    bucket.keep("images/1/original.png", b"hello", content_type="image/png")
    link = bucket.link("images/1/original.png", content_type="image/png")
    shown = httpx2.get(link.url)
    assert (shown.status_code, shown.content) == (200, b"hello")
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["cache-control"] == IMMUTABLE
    assert "content-disposition" not in shown.headers
    now = datetime.now(UTC)
    window = timedelta(seconds=django_settings.LINK_WINDOW)
    assert now + window - timedelta(seconds=1) <= link.expires_at <= now + 2 * window


def test_a_link_brings_the_type_and_caching_that_the_store_forgot(bucket: ImageStorage) -> None:
    """rclone does so when it restarts."""
    bucket.keep("images/1/original", b"hello", content_type="text/html", caching="no-store")
    shown = httpx2.get(bucket.link("images/1/original", content_type="image/png").url)
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["cache-control"] == IMMUTABLE


@pytest.mark.parametrize(
    "name",
    [
        "cat.jpg",
        'naïve "猫" 100%.jpg',
        "a;b\\c.jpg",
        "🐈" * 255,
        "x\r\nSet-Cookie: a=b\r\n\r\n<script>.jpg",
        "\u202egpj.exe",
        "a\u2028\u200b\u00a0b\x7f\x1b[2J.jpg",
    ],
)
def test_a_link_saves_under_a_name(bucket: ImageStorage, name: str) -> None:
    bucket.keep("images/1/original.jpg", b"hello", content_type="image/jpeg")
    link = bucket.link("images/1/original.jpg", content_type="image/jpeg", download_as=name)
    saved = httpx2.get(link.url)
    assert saved.status_code == 200
    kind, _, exact = saved.headers["content-disposition"].partition("; filename*=UTF-8''")
    assert kind.startswith('attachment; filename="')
    assert unquote(exact) == name
    assert "set-cookie" not in saved.headers


def test_a_cache_may_ask_whether_it_changed(bucket: ImageStorage) -> None:
    bucket.keep("images/1/original.png", b"hello", content_type="image/png")
    link = bucket.link("images/1/original.png", content_type="image/png").url
    etag = httpx2.get(link).headers["etag"]
    assert httpx2.get(link, headers={"If-None-Match": etag}).status_code == 304


def test_a_link_is_of_one_object_only(strict: ImageStorage) -> None:
    for key in "images/1/a", "images/2/a":
        strict.keep(key, b"x", content_type="image/png")
    link = strict.link("images/1/a", content_type="image/png", download_as="cat.png").url
    for changed in (
        link.replace("images/1", "images/2"),
        link.replace("cat.png", "cat.html"),
        link.replace("attachment", "inline"),
        link.replace("immutable", "no-store"),
        link + "&versionId=null",
        link + "&partNumber=1",
        link + "&acl",
        link + "&response-content-encoding=gzip",
        link.replace("image%2Fpng", "text%2Fhtml"),
        link.replace("X-Amz-Expires=7200", "X-Amz-Expires=7201"),
        link + "&response-content-disposition=attachment",
        link.partition("?")[0],
        link.partition("images/")[0],
    ):
        assert httpx2.get(changed).status_code in (400, 403), changed
    for method in "PUT", "DELETE", "POST", "HEAD":
        assert httpx2.request(method, link).status_code in (400, 403, 405), method
    for again in "response-content-type=text/html", "response-content-disposition=inline":
        for twice in f"{link}&{again}", link.replace("?", f"?{again}&"):
            shown = httpx2.get(twice)  # some stores look at one of the two only
            told = shown.headers["content-type"], shown.headers.get("content-disposition", "")[:10]
            assert shown.status_code in (400, 403) or told == ("image/png", "attachment"), twice


def test_a_picture_that_is_also_a_page_arrives_as_a_picture(bucket: ImageStorage) -> None:
    body = pictures.jpeg() + b"<html><script>alert(1)</script></html>"
    bucket.keep("images/1/original.jpg", body, content_type="image/jpeg")
    link = bucket.link("images/1/original.jpg", content_type="image/jpeg").url
    shown = httpx2.get(link, headers={"Accept": "text/html"})
    assert (shown.content, shown.headers["content-type"]) == (body, "image/jpeg")


def test_the_framework_gets_the_same_link(bucket: ImageStorage) -> None:
    bucket.keep("images/1/original.png", b"hello", content_type="image/png")
    assert httpx2.get(bucket.url("images/1/original.png")).content == b"hello"


def test_pages_of_ours_may_send_to_the_bucket_and_others_may_not(strict: ImageStorage) -> None:
    for origin, allowed in {
        django_settings.PUBLIC_URL: True,
        "https://evil.example": False,
    }.items():
        preflight = httpx2.options(
            upload_url(strict),
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": "content-type",
            },
        )
        answered = preflight.headers.get("access-control-allow-origin")
        assert (answered in (origin, "*")) is allowed


# --- whose it is ----------------------------------------------------------------------------------


def test_an_empty_bucket_is_claimed_once(storage: ImageStorage) -> None:
    storage.remove([EPOCH_KEY])
    for _ in range(2):
        claim_bucket()
    assert len(storage.read(EPOCH_KEY)) == 36


def test_a_bucket_of_another_is_not_claimed(storage: ImageStorage) -> None:
    storage.keep(EPOCH_KEY, b"another", content_type="text/plain")
    with pytest.raises(ForeignBucket):
        claim_bucket()
    assert storage.read(EPOCH_KEY) == b"another"


def test_a_bucket_with_objects_that_nobody_explains_is_not_claimed(storage: ImageStorage) -> None:
    storage.remove([EPOCH_KEY])
    storage.keep("images/1/a", b"x", content_type="image/png")
    with pytest.raises(ForeignBucket):
        claim_bucket()
    assert objects(storage) == ["images/1/a"]


def test_the_command_prepares_the_bucket(storage: ImageStorage) -> None:
    storage.remove([EPOCH_KEY])
    call_command("prepare_bucket")
    assert storage.size_of(EPOCH_KEY)
    storage.keep(EPOCH_KEY, b"another", content_type="text/plain")
    with pytest.raises(CommandError, match="belongs to another installation"):
        call_command("prepare_bucket")
    with store_down(), pytest.raises(CommandError, match="does not answer"):
        call_command("prepare_bucket")


# --- the store is down, or refuses ----------------------------------------------------------------


EVERYTHING: list[Callable[[ImageStorage], object]] = [
    lambda bucket: bucket.stage("staging/1", BytesIO(b"x"), size=1, content_type="a/b"),
    lambda bucket: bucket.begin_parts("staging/1", content_type="a/b"),
    lambda bucket: bucket.parts("staging/1", "x"),
    lambda bucket: bucket.join_parts("staging/1", "x", [Part(1, 1, "x")]),
    lambda bucket: bucket.abort_parts("staging/1", "x"),
    lambda bucket: bucket.open_parts(),
    lambda bucket: bucket.fetch("staging/1", BytesIO(), limit=1),
    lambda bucket: bucket.keep("images/1/a", b"x", content_type="a/b"),
    lambda bucket: bucket.read("images/1/a"),
    lambda bucket: bucket.size_of("images/1/a"),
    lambda bucket: list(bucket.keys("")),
    lambda bucket: bucket.remove(["images/1/a"]),
    lambda bucket: bucket.make_bucket(),
]


def test_a_store_that_does_not_answer_is_unavailable() -> None:
    with store_down():
        for ask in EVERYTHING:
            with pytest.raises(StorageUnavailable):
                ask(image_storage())


def test_a_store_that_refuses_us_is_unavailable(store: Store) -> None:
    stranger = Store(store.endpoint_url, ("nobody", "nothing"), ("nobody", "nothing"))
    with stored_on(stranger) as bucket:
        for ask in EVERYTHING:
            with pytest.raises(StorageUnavailable):
                ask(bucket)


def test_links_need_no_store() -> None:
    with store_down():
        assert image_storage().link("images/1/a", content_type="image/png").url


def test_a_store_that_ends_in_the_middle_is_unavailable() -> None:
    """It answers with a length, and hangs up before the last byte."""
    server = socket.create_server((HOST, 0))

    def hang_up() -> None:
        for _ in range(4):
            try:
                peer, _address = server.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello")

    thread = threading.Thread(target=hang_up)
    thread.start()
    nowhere = Store(f"http://{HOST}:{server.getsockname()[1]}", ("x", "y"), ("x", "y"))
    with stored_on(nowhere) as bucket:
        for ask in (
            lambda: bucket.fetch("staging/1", BytesIO(), limit=1000),
            lambda: bucket.read("images/1/a"),
        ):
            with pytest.raises(StorageUnavailable):
                ask()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
