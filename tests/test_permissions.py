"""Who may do what: every address, every method, everybody, everything that may be asked for.

The table below says what is allowed; the rules of `expected` say what everybody else is told. A new address that has
no line here fails.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, ClientHandler, encode_multipart
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver
from procrastinate.contrib.django.models import ProcrastinateJob

from media_api.models import (
    ApiKey,
    Image,
    PendingDeletion,
    SignInLink,
    Upload,
    database_now,
    image_prefix,
    uuid7,
)
from media_api.storage import EPOCH_KEY, ImageStorage
from tests import pictures
from tests.conftest import client_of
from tests.sending import API, Answer, announce, refusal, send, sha256

# Who may: the owner by a session or by a key with the scope `read` or `write`; by a `session` only; or `anyone`.
# Then what they are answered: for what is theirs, and for what is theirs and in the trash (of uploads: kept by now).
# Where anyone may, the second is the answer to who is not signed in.
TABLE = """
api/v1/images                              GET     read     200
api/v1/images                              POST    write    202
api/v1/images/trash                        GET     read     200
api/v1/images/delete                       POST    write    200
api/v1/images/restore                      POST    write    200
api/v1/images/tags                         POST    write    200
api/v1/images/links                        POST    read     200
api/v1/images/<uuid:image_id>              GET     read     200  200
api/v1/images/<uuid:image_id>              PATCH   write    200  409
api/v1/images/<uuid:image_id>              DELETE  write    204  204
api/v1/images/<uuid:image_id>/restore      POST    write    200  200
api/v1/images/<uuid:image_id>/content      GET     read     302  302
api/v1/uploads                             GET     read     200
api/v1/uploads                             POST    write    201
api/v1/uploads/<uuid:upload_id>            GET     read     200  200
api/v1/uploads/<uuid:upload_id>            DELETE  write    204  409
api/v1/uploads/<uuid:upload_id>/parts      POST    write    200  409
api/v1/uploads/<uuid:upload_id>/complete   POST    write    202  200
api/v1/account                             GET     read     200
api/v1/keys                                GET     read     200
api/v1/keys                                POST    write    201
api/v1/keys/<int:key_id>                   DELETE  write    204
api/v1/openapi.json                        GET     anyone   200  200
-                                          GET     session  200
upload/                                    GET     session  200
upload/                                    POST    session  302
uploads/                                   GET     session  200
uploads/<uuid:upload_id>/                  GET     session  200  302
uploads/<uuid:upload_id>/                  POST    session  302  302
images/<uuid:image_id>/                    GET     session  200  200
images/<uuid:image_id>/edit/               GET     session  200  302
images/<uuid:image_id>/edit/               POST    session  302  302
images/<uuid:image_id>/delete/             GET     session  200  200
images/<uuid:image_id>/delete/             POST    session  302  302
images/<uuid:image_id>/restore/            POST    session  302  302
i/<uuid:image_id>/original                 GET     session  302  302
i/<uuid:image_id>/stripped                 GET     session  302  302
i/<uuid:image_id>/<int:side>               GET     session  302  302
trash/                                     GET     session  200
trash/empty/                               GET     session  200
trash/empty/                               POST    session  302
keys/                                      GET     session  200
keys/                                      POST    session  200
keys/<int:key_id>/revoke/                  GET     session  200
keys/<int:key_id>/revoke/                  POST    session  302
account/                                   GET     session  200
account/sign-out-others/                   POST    session  302
account/password/                          GET     session  200
account/password/                          POST    session  302
login/                                     GET     anyone   302  200
login/                                     POST    anyone   302  200
login/<str:token>/                         GET     anyone   410  410
login/<str:token>/                         POST    anyone   410  410
logout/                                    POST    anyone   302  302
api/docs/                                  GET     anyone   200  200
api/docs/errors/                           GET     anyone   200  200
livez                                      GET     anyone   200  200
readyz                                     GET     anyone   200  200
metrics                                    GET     anyone   200  200
"""
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
SAFE = ["GET", "HEAD", "OPTIONS"]
READS_WITH_POST = "api/v1/images/links"
HANDLER = ClientHandler(enforce_csrf_checks=True)
PASSWORD, CSRF = "wonderland-7", "c" * 32


@dataclass(frozen=True)
class Line:
    route: str
    method: str
    who: str
    own: int
    second: int


def parsed(table: str) -> Iterator[Line]:
    for row in table.strip().splitlines():
        route, method, who, own, *second = row.split()
        second = second or ["0"]
        yield Line(route.removeprefix("-"), method, who, int(own), int(second[0]))


LINES = list(parsed(TABLE))
ROUTES = {route: list(lines) for route, lines in groupby(LINES, attrgetter("route"))}

FORM = "application/x-www-form-urlencoded"


# --- the addresses --------------------------------------------------------------------------------


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern) or route == "admin/":
            yield route
        else:
            yield from routes(entry, route)


def test_every_address_is_in_the_table() -> None:
    found = set(routes(get_resolver()))
    assert found - {"admin/"} == set(ROUTES)
    assert "admin/" in found  # see test_only_staff_enters_the_admin
    assert all(line.who in ("read", "write", "session", "anyone") for line in LINES)
    assert len(LINES) == len({(line.route, line.method) for line in LINES})


# --- the people and what they have ----------------------------------------------------------------


@dataclass(frozen=True)
class Belongings:
    """What each owner has, so that everybody can ask for their own and for another's."""

    owner: User
    image: Image
    trashed: Image
    upload: Upload
    key: ApiKey

    @property
    def ids(self) -> tuple[str, ...]:
        return str(self.image.id), str(self.trashed.id), str(self.upload.id)


def belongings(owner: User, storage: ImageStorage) -> Belongings:
    """Rows as the service makes them, and their objects."""
    body = pictures.jpeg()
    upload = Upload.objects.create(
        owner=owner,
        name="coming.jpg",
        size=len(body),
        content_type="image/jpeg",
        expires_at=database_now().replace(year=2100),
    )
    key, _ = ApiKey.objects.mint(owner, scopes=["write"], name="spare")
    found = Belongings(owner, kept(owner), kept(owner, is_trashed=True), upload, key)
    for path in (found.image.path, found.trashed.path, upload.key):
        storage.keep(path, body, content_type="image/jpeg", caching="no-cache")
    return found


def kept(owner: User, *, is_trashed: bool = False) -> Image:
    image_id, body = uuid7(), pictures.jpeg()
    return Image.objects.create(
        id=image_id,
        owner=owner,
        name="cat.jpg",
        tags=["pets"],
        path=f"{image_prefix(image_id)}original.jpg",
        size=len(body),
        date=database_now(),
        content_type="image/jpeg",
        width=64,
        height=48,
        sha256=sha256(body),
        sides=[320],
        placeholder="data:image/webp;base64,AA==",
        trashed_at=database_now() if is_trashed else None,
    )


SOME = (
    "anonymous",
    "owner, session",
    "owner, session without CSRF",
    "owner, write key",
    "stranger, session",
    "revoked key",
)


@dataclass(frozen=True)
class Actor:
    """Somebody who asks. Of a key the scopes matter; a bad key is not nobody, and not anybody either."""

    name: str
    owner: User | None = None
    key: str = ""
    scopes: tuple[str, ...] = ()
    has_csrf: bool = True
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "client", visitor(self.key, self.has_csrf))

    @property
    def has_session(self) -> bool:
        return self.owner is not None and not self.key

    @property
    def has_bad_key(self) -> bool:
        return self.owner is None and bool(self.key)

    def arrive(self) -> None:
        """As if for the first time: signed in if they can be."""
        self.client.cookies.clear()
        if self.has_session and self.owner:
            self.client.force_login(self.owner)
        if self.has_csrf:
            self.client.cookies["csrftoken"] = CSRF


def visitor(key: str, has_csrf: bool) -> Client:
    """A client that sends a key or a CSRF token. All share a handler, as to make one reads every static file."""
    headers = {"X-CSRFToken": CSRF} if has_csrf and not key else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    client = Client(raise_request_exception=False, headers=headers)
    client.handler = HANDLER
    return client


State = dict[str, Any]


class World:
    """alice, mallory and root (who is staff), each with the same belongings; and who else may come by."""

    def __init__(self, storage: ImageStorage) -> None:
        self.storage = storage
        self.owners = [
            User.objects.create_user("alice", password=PASSWORD),
            User.objects.create_user("mallory", password=PASSWORD),
            User.objects.create_superuser("root", password=PASSWORD),
        ]
        self.belongings = {owner: belongings(owner, storage) for owner in self.owners}
        self.actors = list(self._actors())
        self.some_actors = [actor for actor in self.actors if actor.name in SOME]
        # Noting the first use in a minute is a statement more, which tells nothing of what was asked for.
        ApiKey.objects.update(last_used_at=Now() + timedelta(hours=1))
        self.users = list(User.objects.all())
        self.rows = {model: list(model.objects.all()) for model in (Image, Upload, ApiKey)}
        for actor in self.actors:
            actor.arrive()
        self.before = self.state()

    def _actors(self) -> Iterator[Actor]:
        alice, mallory, root = self.owners
        yield Actor("anonymous")
        yield Actor("owner, session", alice)
        yield Actor("owner, session without CSRF", alice, has_csrf=False)
        yield Actor("owner, read key", alice, *minted(alice, "read"))
        yield Actor("owner, write key", alice, *minted(alice, "write"))
        yield Actor("owner, read and write key", alice, *minted(alice, "read", "write"))
        yield Actor("stranger, session", mallory)
        yield Actor("stranger, read and write key", mallory, *minted(mallory, "read", "write"))
        yield Actor("staff, session", root)
        yield Actor("staff, read and write key", root, *minted(root, "read", "write"))
        revoked, _ = minted(alice, "read", "write")
        ApiKey.objects.filter(prefix=revoked.split("_")[1]).delete()
        yield Actor("revoked key", key=revoked)
        expired, _ = minted(alice, "read", "write")
        ApiKey.objects.filter(prefix=expired.split("_")[1]).update(expires_at=database_now())
        yield Actor("expired key", key=expired)
        yield Actor("malformed key", key="sbx_" + revoked[-8:])
        yield Actor("right prefix, wrong secret", key=minted(alice, "read", "write")[0][:-1] + "!")
        leaver = User.objects.create_user("leaver", password=PASSWORD)
        yield Actor("key of a deactivated user", key=minted(leaver, "read", "write")[0])
        User.objects.filter(id=leaver.id).update(is_active=False)
        gone = User.objects.create_user("gone", password=PASSWORD)
        yield Actor("key of a deleted user", key=minted(gone, "read", "write")[0])
        gone.delete()

    def state(self) -> State:
        """Every row and object that a request could touch, by the name of the table or the key."""
        state: State = {
            model.__name__: list(model.objects.order_by("pk").values())
            for model in (Image, Upload, PendingDeletion, SignInLink)
        }
        keys = ApiKey.objects.order_by("pk").values("id", "owner_id", "name", "digest", "scopes")
        users = User.objects.order_by("pk").values("id", "username", "password", "is_active")
        jobs = ProcrastinateJob.objects.order_by("pk").values("id", "task_name")
        return state | {
            "ApiKey": list(keys),
            "User": list(users),
            "jobs": list(jobs),
            "bucket": self.objects(),
        }

    def objects(self) -> dict[str, tuple[int, str]]:
        listed = self.storage.client.list_objects_v2(Bucket=self.storage.bucket_name)
        return {
            entry["Key"]: (entry["Size"], entry["ETag"])
            for entry in listed["Contents"]
            if entry["Key"] != EPOCH_KEY
        }

    def others(self, owner: User | None, state: State) -> State:
        """What of a state is not this owner's, nor was made by this request."""
        mine = self.belongings[owner].ids if owner else ()
        others: State = {
            name: [row for row in state[name] if owner is None or row["owner_id"] != owner.id]
            for name in ("Image", "Upload", "ApiKey", "SignInLink")
        }
        others["User"] = [row for row in state["User"] if owner is None or row["id"] != owner.id]
        others["bucket"] = {
            key: fact
            for key, fact in state["bucket"].items()
            if key in self.before["bucket"] and not any(image_id in key for image_id in mine)
        }
        return others

    def begin_again(self) -> None:
        """As it was before something was allowed."""
        for model in (Image, Upload, ApiKey, PendingDeletion, ProcrastinateJob):
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {model._meta.db_table}")
        for model, rows in self.rows.items():
            model.objects.bulk_create(rows)  # type: ignore[arg-type]
        User.objects.bulk_update(self.users, ["password"])
        present, wanted = self.objects(), self.before["bucket"]
        self.storage.remove(list(present.keys() - wanted.keys()))
        for key in wanted.keys() - present.keys():
            self.storage.keep(key, pictures.jpeg(), content_type="image/jpeg", caching="no-cache")
        assert self.state() == self.before

    def targets(self, actor: Actor, route: str, *, is_taken: bool) -> Iterator["Target"]:
        """What the route's id may be, as this actor sees it. Where no id is looked at, two will do."""
        targets = list(self._targets(actor, route))
        looks = is_taken and is_let_in(actor, route)
        yield from targets if looks else targets[:1] + targets[-1:] * (len(targets) > 1)

    def _targets(self, actor: Actor, route: str) -> Iterator["Target"]:
        alice, mallory, _ = self.owners
        own = self.belongings[actor.owner or alice]
        other = self.belongings[mallory if actor.owner in (None, alice) else alice]
        if "image_id" in route:
            yield Target("own", "own image", own.image.id)
            yield Target("second", "own trashed image", own.trashed.id)
            yield Target("none", "missing image", uuid7())
            yield Target("none", "other's image", other.image.id)
            yield Target("none", "other's trashed image", other.trashed.id)
            yield Target("none", "own upload, as an image", own.upload.id)
        elif "upload_id" in route:
            yield Target("own", "own upload", own.upload.id)
            yield Target("second", "own image, as an upload", own.image.id)
            yield Target("none", "missing upload", uuid7())
            yield Target("none", "other's upload", other.upload.id)
            yield Target("none", "other's image, as an upload", other.image.id)
        elif "key_id" in route:
            yield Target("own", "own key", own.key.id)
            yield Target("none", "missing key", 10**9)
            yield Target("none", "other's key", other.key.id)
        else:
            yield Target("own", "it", "")


def minted(owner: User, *scopes: str) -> tuple[str, tuple[str, ...]]:
    _, text = ApiKey.objects.mint(owner, scopes=scopes)
    return text, scopes


@dataclass(frozen=True)
class Target:
    kind: Literal["own", "second", "none"]
    name: str
    id: object

    def path(self, route: str) -> str:
        path = re.sub(r"<\w+:(image|upload|key)_id>", str(self.id), route)
        return "/" + path.replace("<int:side>", "320").replace("<str:token>", "no-such-token")


# --- what they ask --------------------------------------------------------------------------------


def body_of(world: World, route: str, method: str) -> tuple[bytes, str]:
    """A body that does what the address is for, when it is the right one who sends it."""
    if method in SAFE:
        return b"", FORM
    if route in ("api/v1/images", "upload/"):
        return encode_multipart(BOUNDARY, {"file": picture()}), MULTIPART_CONTENT
    if route.startswith("api/v1/"):
        return json.dumps(JSON.get(route) or labels(world)).encode(), "application/json"
    return urlencode(FORMS.get(route, {"name": "new", "tags": "new"}), doseq=True).encode(), FORM


def picture() -> SimpleUploadedFile:
    return SimpleUploadedFile("cat.jpg", pictures.jpeg(), "image/jpeg")


def labels(world: World) -> dict[str, Any]:
    """Of every image that there is: for the addresses that take many."""
    ids = [image_id for mine in world.belongings.values() for image_id in mine.ids[:2]]
    return {"ids": ids, "name": "new", "tags": ["new"], "add": ["new"], "numbers": [1]}


JSON: dict[str, dict[str, Any]] = {
    "api/v1/uploads": {"name": "new.jpg", "size": 9, "content_type": "image/jpeg"},
    "api/v1/keys": {"name": "new", "scopes": ["write"]},
}
FORMS: dict[str, dict[str, Any]] = {
    "images/<uuid:image_id>/delete/": {"how": "permanent"},
    "keys/": {"name": "new", "scopes": ["read", "write"]},
    "login/": {"username": "alice", "password": "not-the-password"},
    "account/password/": {
        "old_password": PASSWORD,
        "new_password1": "looking-glass-8",
        "new_password2": "looking-glass-8",
    },
}


def ask(world: World, actor: Actor, route: str, method: str, target: Target) -> Answer:
    body, content_type = body_of(world, route, method)
    wait = (
        "?wait=0" if route in ("api/v1/images", "api/v1/uploads/<uuid:upload_id>/complete") else ""
    )
    return actor.client.generic(method, target.path(route) + wait, body, content_type)


# --- what they are told ---------------------------------------------------------------------------


def expected(actor: Actor, route: str, method: str, target: Target) -> int:
    lines = {line.method: line for line in ROUTES[route]}
    line = lines.get("GET" if method == "HEAD" else method)
    is_public = any(line.who == "anyone" for line in lines.values())
    is_api = takes_keys(route)
    is_known = actor.owner is not None if is_api else actor.has_session
    if is_api and actor.has_bad_key:
        return 401
    if not is_known and not is_public:
        return 401 if is_api else 302
    if method not in SAFE and not has_token(actor, route):
        return 403
    if is_api and actor.key and not is_public and scope(route, method) not in actor.scopes:
        return 403
    if route == "login/" and actor.has_session:
        return 302  # whatever they want there: they are in
    if line is None:
        return 200 if method == "OPTIONS" and has_options(route) else 405
    if is_public:
        return line.own if is_known else line.second
    return {"own": line.own, "second": line.second, "none": 404}[target.kind]


def has_token(actor: Actor, route: str) -> bool:
    """The API asks for a CSRF token where a session speaks, pages of everybody; one page takes nothing at all."""
    if route == "api/docs/":
        return True
    if takes_keys(route):
        return actor.has_csrf or not actor.has_session
    return actor.has_csrf and not actor.key


def takes_keys(route: str) -> bool:
    """Pages know sessions only: a key there is nobody's."""
    return route.startswith("api/v1/")


def scope(route: str, method: str) -> str:
    return "read" if method in SAFE or route == READS_WITH_POST else "write"


def has_options(route: str) -> bool:
    """The views that are classes tell which methods they take; it is the same for every id."""
    classes = ("account/password/", "login/", "login/<str:token>/", "logout/")
    return route.startswith("api/v1/") or route in classes


def statements(queries: CaptureQueriesContext) -> list[str]:
    """What the database was asked, without the values."""
    return [re.sub(r"'[^']*'|\b[0-9]+\b", "?", query["sql"]) for query in queries]


def all_that_tells(answer: Answer, target: Target, asked: list[str]) -> str:
    """Everything that could tell one refusal from another; what the database was asked stands for the time it took."""
    text = answer.content.decode()
    assert len(str(target.id)) < 36 or str(target.id) not in text
    body = re.sub(r'("request_id": ?"|<code>)[0-9a-f-]{36}', r"\1", text)
    changing = ("X-Request-ID", "RateLimit")
    headers = {name: value for name, value in answer.headers.items() if name not in changing}
    return repr((answer.status_code, headers, sorted(answer.cookies), asked, body))


REFUSALS = [
    (401, "unauthenticated"),
    (403, "forbidden"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (409, "trashed"),
    (409, "already_kept"),
]


def look_at_refusal(route: str, method: str, answer: Answer, path: str) -> None:
    """A refusal has the shape that the contract promises."""
    status = answer.status_code
    if status == 302:
        there = f"/login/?next={quote(path)}" if method in ("GET", "HEAD") else "/login/"
        assert answer["Location"] == there
    if takes_keys(route) and method != "HEAD":
        assert refusal(answer) in REFUSALS
    if status == 401:
        assert answer["WWW-Authenticate"] == 'Bearer realm="Shoebox"'
    if status == 405:
        assert set(answer["Allow"].split(", ")) >= {line.method for line in ROUTES[route]}
        assert method not in answer["Allow"].split(", ")


@pytest.fixture
def world(storage: ImageStorage) -> World:
    return World(storage)


@pytest.mark.parametrize("route", ROUTES)
def test_who_may_do_what(world: World, route: str) -> None:
    taken = {line.method for line in ROUTES[route]}
    for method in METHODS:
        bad_keys_are_told: set[str] = set()
        for actor in world.actors if method in taken else world.some_actors:
            told: dict[int, set[str]] = defaultdict(set)
            for target in world.targets(actor, route, is_taken=method in taken):
                case = f"{method} /{route} by {actor.name} of {target.name}"
                status = expected(actor, route, method, target)
                with CaptureQueriesContext(connection) as queries:
                    answer = ask(world, actor, route, method, target)
                assert answer.status_code == status, (case, status, answer.content)
                if not is_let_in(actor, route) or status >= 400:
                    look_at_refusal(route, method, answer, target.path(route))
                elif method not in SAFE:
                    look_at_others(world, actor, case)
                if status >= 400 and status != 409:
                    asked = (
                        [] if actor.has_bad_key else statements(queries)
                    )  # malformed: not looked for
                    told[status].add(all_that_tells(answer, target, asked))
            assert all(len(answers) == 1 for answers in told.values()), (case, told)
            bad_keys_are_told |= told[401] if actor.has_bad_key else set()
            if method in taken and method not in SAFE:
                assert world.state() == world.before, case
        assert len(bad_keys_are_told) <= 1, (case, bad_keys_are_told)
        assert world.state() == world.before, case


def look_at_others(world: World, actor: Actor, case: str) -> None:
    """What was allowed has changed nothing of anybody else's. Then it is undone."""
    after = world.state()
    assert world.others(actor.owner, after) == world.others(actor.owner, world.before), case
    if after != world.before:
        world.begin_again()
    for each in world.actors:  # since this one may have signed them out
        each.arrive()


def is_let_in(actor: Actor, route: str) -> bool:
    if any(line.who == "anyone" for line in ROUTES[route]):
        return not (takes_keys(route) and actor.has_bad_key)
    return actor.owner is not None if takes_keys(route) else actor.has_session


# --- the admin, and fields that are nobody's to set -----------------------------------------------


def test_only_staff_enters_the_admin(world: World) -> None:
    image = world.belongings[world.owners[0]].image
    User.objects.filter(username="root").update(is_superuser=False)
    addresses = ["", "media_api/image/", f"media_api/image/{image.id}/change/", "auth/user/", "no/"]
    for address in addresses:
        for method in METHODS:
            for actor in world.actors:
                path = f"/admin/{address}"
                answer = actor.client.generic(method, path, b"" if method in SAFE else b"a=b", FORM)
                case = (method, path, actor.name, answer.status_code)
                if actor.owner is world.owners[2]:
                    assert answer.status_code != 200 or not address, (
                        case
                    )  # staff without a permission
                elif answer.status_code != 403:  # without a CSRF token
                    assert answer.status_code == 302, case
                    assert answer["Location"] == f"/admin/login/?next={quote(path)}", case
    assert world.state() == world.before


def foreign_fields(*models: type[Model], allowed: tuple[str, ...]) -> dict[str, Any]:
    """Every column there is but those that may be set, with a value that would be seen."""
    columns = {name for model in models for f in model._meta.fields for name in (f.name, f.attname)}
    extra = {"pk", "_state", "user", "user_id", "is_staff", "state", "multipart_id", "key"}
    return dict.fromkeys(sorted((columns | extra) - {*allowed}), "7")


@pytest.mark.parametrize("kind", ["image", "edit"])
def test_of_an_image_only_labels_are_set(world: World, kind: str) -> None:
    alice, session = world.owners[0], world.actors[1]
    image = world.belongings[alice].image
    fields = foreign_fields(Image, Upload, allowed=("name", "tags"))
    if kind == "image":
        path, form = f"{API}/images/{image.id}", {**fields, "tags": ["new"]}
        answer = session.client.generic("PATCH", path, json.dumps(form), "application/json")
        assert answer.status_code == 200
    else:
        form = {**fields, "name": "cat.jpg", "tags": "new"}
        answer = session.client.generic("POST", f"/images/{image.id}/edit/", urlencode(form), FORM)
        assert answer.status_code == 302
    after = Image.objects.get(id=image.id)
    changed = {
        f.name for f in Image._meta.fields if getattr(after, f.name) != getattr(image, f.name)
    }
    assert changed == {"tags", "version", "words"}
    assert (after.tags, after.version) == (["new"], image.version + 1)
    assert world.others(alice, world.state()) == world.others(alice, world.before)


def test_of_an_upload_only_the_announcement_is_believed(world: World) -> None:
    alice, mallory, _ = world.owners
    api, body = client_of(alice), pictures.jpeg()
    announced = ("name", "size", "content_type", "sha256", "tags")
    fields: Any = foreign_fields(Image, Upload, allowed=announced)
    fields |= {
        "owner": str(mallory.id),
        "owner_id": str(mallory.id),
        "state": "staged",
        "id": str(uuid7()),
    }
    for answer in (
        announce(api, body, **fields),
        send(api, body, **fields, size="7"),
    ):
        upload = Upload.objects.get(id=answer.json()["id"])
        assert (upload.owner, upload.size, upload.name) == (alice, len(body), "cat.jpg")
        assert str(upload.id) != fields["id"]
        assert upload.state == ("announced" if answer.status_code == 201 else "staged")
        assert (upload.multipart_id, upload.part_size, upload.attempts) == ("", 0, 0)
        assert (upload.sha256, upload.claimed_sha256, upload.error_code) == ("", "", "")
        assert upload.expires_at < database_now().replace(year=2100)
    others = {key: fact for key, fact in world.objects().items() if key in world.before["bucket"]}
    assert others == world.before["bucket"]


@pytest.mark.parametrize("path", [f"{API}/keys", "/keys/"])
def test_of_a_key_only_name_scopes_and_end_are_set(world: World, path: str) -> None:
    alice, mallory, _ = world.owners
    fields = foreign_fields(ApiKey, allowed=("name", "scopes", "expires_at")) | {
        "owner": mallory.id
    }
    form = {**fields, "name": "mine", "scopes": ["read"]}
    session = world.actors[1].client
    if path.startswith(API):
        session.generic("POST", path, json.dumps(form), "application/json")
    else:
        session.generic("POST", path, urlencode(form, doseq=True), FORM)
    key = ApiKey.objects.get(name="mine")
    assert (key.owner, key.scopes, key.last_used_at) == (alice, ["read"], None)
    assert (len(key.prefix), len(key.digest)) == (8, 64)
    assert str(key.id) != "7"


def test_of_many_what_is_not_yours_is_missing(world: World) -> None:
    """One answer has both: they must not differ by a byte."""
    alice, mallory, _ = world.owners
    other, missing = world.belongings[alice], str(uuid7())
    api = client_of(mallory)
    before = world.others(mallory, world.state())
    for action in "delete", "restore", "tags", "links":
        ids = [*other.ids, missing]
        answer = api.post(f"{API}/images/{action}?permanent=true", {"ids": ids}, format="json")
        assert answer.json()["results"] == [
            {"id": image_id, "status": 404, "code": "not_found"} for image_id in ids
        ]
    assert world.others(mallory, world.state()) == before
