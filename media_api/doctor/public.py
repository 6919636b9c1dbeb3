"""The store as a browser sees it, at S3_PUBLIC_ENDPOINT_URL."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from django.conf import settings

from media_api.storage import IMMUTABLE, attachment, image_storage

from .asking import NO_HEADERS, Answer, ask
from .bucket import BODY, TYPE, probe
from .findings import Finding, fail, note, ok, warn

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
STRANGER = "https://elsewhere.example"
SEE_PROXY = (
    "S3_PUBLIC_ENDPOINT_URL is the address that browsers use, and the store must see its host: "
    "a proxy before it passes `Host` and the query unchanged (docs/configure.md)."
)


def answers() -> Finding:
    """From inside a container the loopback address of the machine is somebody else's, so it is no failure."""
    endpoint = image_storage().public.endpoint
    try:
        ask("GET", endpoint)
    except OSError as error:
        if _is_another_machines():
            return note(
                f"{endpoint} cannot be reached from here. What follows was asked at S3_ENDPOINT_URL in its name."
            )
        return fail(
            f"Nothing answers at {endpoint}: {error.strerror or error}.",
            "See S3_PUBLIC_ENDPOINT_URL, its name in the DNS, the proxy and its certificate.",
        )
    return ok(f"{endpoint} answers.")


def _is_another_machines() -> bool:
    storage = image_storage()
    ours, public = (
        urlsplit(url).hostname for url in (storage.endpoint_url, storage.public.endpoint)
    )
    return public in LOOPBACK and ours not in LOOPBACK


def ask_as_browser(
    method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] = NO_HEADERS
) -> Answer:
    try:
        return ask(method, url, body=body, headers=headers)
    except OSError:
        if not _is_another_machines():
            raise
        return ask(method, url, body=body, headers=headers, at=image_storage().endpoint_url)


def shows_links() -> Finding:
    storage = image_storage()
    with probe() as key:
        storage.keep(key, BODY, content_type="text/html", caching="no-store")
        url = storage.link(key, content_type=TYPE, download_as="doctor.png").url
        answer = ask_as_browser("GET", url)
        without = ask_as_browser("GET", url.partition("?")[0])
    if not answer.is_success or answer.body != BODY:
        return fail(f"A link does not show its object: {answer}.", SEE_PROXY)
    if not without.is_refusal:
        return fail(
            f"A link that was used also works without its signature: {without}.",
            "The bucket is public, or a cache before it ignores the query: it must not.",
        )
    return _judged_headers(answer)


def _judged_headers(answer: Answer) -> Finding:
    expected = {
        "Content-Type": TYPE,
        "Cache-Control": IMMUTABLE,
        "Content-Disposition": attachment("doctor.png"),
    }
    changed = [name for name, value in expected.items() if answer.headers[name] != value]
    if changed:
        return fail(
            f"A link does not carry what was signed into it: {', '.join(changed)}.",
            "The store must obey response-* parameters, and no proxy may change these headers.",
        )
    return ok("A link shows its object, with the type, name and caching that were signed.")


def takes_uploads() -> Finding:
    storage = image_storage()
    with probe() as key:
        url = storage.presign_put(key, size=len(BODY), content_type=TYPE, lifetime=60)
        headers = {"Content-Type": TYPE, "Origin": settings.CSRF_TRUSTED_ORIGINS[0]}
        answer = ask_as_browser("PUT", url, body=BODY, headers=headers)
        if not answer.is_success or storage.read(key) != BODY:
            return fail(f"What a browser uploads does not arrive: {answer}.", SEE_PROXY)
        if not _lets_in(answer, headers["Origin"]):
            return fail(
                "The pages are not told that an upload was taken.", _allow(headers["Origin"])
            )
    return ok("What a browser uploads is there.")


def lets_pages_in() -> Finding:
    """CORS: the preflight that a browser sends before it uploads (fetch.spec.whatwg.org)."""
    with probe() as key:
        url = image_storage().presign_put(key, size=len(BODY), content_type=TYPE, lifetime=60)
        for origin in settings.CSRF_TRUSTED_ORIGINS:
            answer = _preflight(url, origin)
            if not (_lets_in(answer, origin) and _allows_put(answer)):
                return fail(f"Pages of {origin} may not upload: {answer}.", _allow(origin))
        if _lets_in(_preflight(url, STRANGER), STRANGER):
            return warn(
                "Pages of any origin may upload, if they get hold of a URL.",
                f"Allow {settings.CSRF_TRUSTED_ORIGINS[0]} only (MinIO: MINIO_API_CORS_ALLOW_ORIGIN).",
            )
    return ok(f"Pages of {', '.join(settings.CSRF_TRUSTED_ORIGINS)} may upload, others may not.")


def _preflight(url: str, origin: str) -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    }
    return ask_as_browser("OPTIONS", url, headers=headers)


def _lets_in(answer: Answer, origin: str) -> bool:
    return answer.is_success and answer.headers["Access-Control-Allow-Origin"] in (origin, "*")


def _allows_put(answer: Answer) -> bool:
    allowed = {"Methods": "put", "Headers": "content-type"}
    return all(
        {word, "*"} & {given.strip().lower() for given in _given(answer, name).split(",")}
        for name, word in allowed.items()
    )


def _given(answer: Answer, name: str) -> str:
    return str(answer.headers[f"Access-Control-Allow-{name}"] or "")


def _allow(origin: str) -> str:
    return (
        f"Let the store answer CORS requests of {origin} (PUBLIC_URL) for PUT with the header Content-Type "
        "(MinIO: MINIO_API_CORS_ALLOW_ORIGIN)."
    )
