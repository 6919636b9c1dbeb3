"""Names and tags that are made to be more than text: every page shows them as they are, and nothing else changes."""

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from media_api import images
from media_api.models import ApiKey, Image, Upload, clean_name
from tests import pictures
from tests.sending import API, announce
from tests.test_permissions import LINES

Keep = Callable[..., Image]

NAMES = {
    "script": "<script>alert(1)</script>.jpg",
    "attributes": "\" onload=alert(1) x=\"' onerror='alert(1)",
    "end of title": "</title></textarea></style><svg onload=alert(1)>",
    "comment": "--><img src=x onerror=alert(1)><!--",
    "template": "{% csrf_token %}{{ request.user.password }}${7*7}%s%(a)s",
    "link": "javascript:alert(1)](javascript:alert(1))",
    "shell": "'; $(touch x) `x` \\ \"&|;\n",
    "entities": "&lt;b&gt;&#60;b&#62;&amp;",
    "emoji": "💥" * 255,
    "right to left": "\u05e9\u05dc\u05d5\u05dd\u200f.gpj",
    "turned around": "\u202e\u2067gpj.exe\u2069",
    "nothing to see": "\u200b\u200d\u2060\ufeff",
    "lines": "a\r\nSet-Cookie: a=b\r\n\r\n\u2028\u2029<b>",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "one word": "w" * 255,
}
TAGS = ["<b>tag</b>", "\" onload='alert(1)", "{{ 7 }}"]


class Outline(HTMLParser):
    """The elements of a page with the names of their attributes; and all its words, attributes' values included."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.words += "\n" + "\n".join(value or "" for _, value in attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def browser(alice: User) -> Client:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    client = Client()
    client.force_login(alice)
    return client


class Things:
    """One of each that has a name, made through the doors that programs use."""

    def __init__(self, api: APIClient, owner: User, keep: Keep) -> None:
        self.api = api
        self.image, self.trashed = keep(owner), keep(owner)
        self.upload = Upload.objects.get(id=announce(api, pictures.jpeg()).json()["id"])
        self.key, _ = ApiKey.objects.mint(owner, scopes=["read"])

    def call(self, name: str, tags: list[str]) -> None:
        for image in self.image, self.trashed:
            images.restore(Image.objects.filter(id=image.id))
            labels = {"name": name, "tags": tags}
            assert (
                self.api.patch(f"{API}/images/{image.id}", labels, format="json").status_code == 200
            )
        images.trash(Image.objects.filter(id=self.trashed.id))
        self.upload.delete()
        announced = announce(self.api, pictures.jpeg(), name=name).json()
        self.upload = Upload.objects.get(id=announced["id"])
        self.key.delete()
        self.key, _ = ApiKey.objects.mint(self.key.owner, scopes=["read"], name=name[:100])

    def addresses(self) -> Iterator[str]:
        """Every page, of every thing that it can be about; and the admin's."""
        for line in LINES:
            if line.method == "GET" and line.who != "read":
                for image in self.image, self.trashed:
                    yield self.filled(line.route, image)
        for model, row in ("image", self.image), ("upload", self.upload), ("apikey", self.key):
            for page in "", f"{row.pk}/change/", f"{row.pk}/delete/", f"{row.pk}/history/":
                yield f"/admin/media_api/{model}/{page}"

    def filled(self, route: str, image: Image) -> str:
        ids = {"image_id": image.id, "upload_id": self.upload.id, "key_id": self.key.id}
        return "/" + re.sub(r"<\w+:(\w+)>", lambda match: str(ids.get(match[1], 320)), route)


def outlines(browser: Client, addresses: list[str]) -> dict[int, Outline]:
    """Of those that are pages, by their place in the list."""
    answers = [browser.get(address) for address in addresses]
    return {
        place: Outline(answer.content.decode())
        for place, answer in enumerate(answers)
        if answer.status_code == 200 and "text/html" in answer["Content-Type"]
    }


SHOWS_NAMES = 14  # pages at the least


@pytest.fixture
def things(api: APIClient, alice: User, keep: Keep) -> Things:
    return Things(api, alice, keep)


def test_a_name_is_text_on_every_page(browser: Client, things: Things) -> None:
    things.call("cat", ["a", "b", "c"])
    plain = outlines(browser, list(things.addresses()))
    for case, name in NAMES.items():
        things.call(name, TAGS)
        hostile = outlines(browser, list(things.addresses()))
        assert plain.keys() == hostile.keys()
        for place, outline in hostile.items():
            assert outline.elements == plain[place].elements, (case, place)
        kept = clean_name(name)[:50]
        assert sum(kept in outline.words for outline in hostile.values()) >= SHOWS_NAMES, case
        assert sum(TAGS[1] in outline.words for outline in hostile.values()) >= 3, case


ECHOES = [
    "/?q={}",
    "/?tag={}",
    "/?q=nothing&tag={}",
    "/login/?next={}",
    "/nowhere/{}",
    "/trash/?cursor={}",
]


def test_what_an_address_says_is_text(browser: Client, things: Things) -> None:
    """A page with something odd in its address has no element that the same page has not with something plain."""
    things.call("cat", TAGS)
    for address in [*ECHOES, f"/images/{things.image.id}/?q={{}}"]:
        known: set[tuple[str, ...]] = set()
        for plain in "", "a", "zzz", "x" * 500, "%00":
            known.update(Outline(browser.get(address.format(plain)).content.decode()).elements)
        for case, name in NAMES.items():
            answer = browser.get(address.format(quote(name, safe="")))
            assert answer.status_code < 500, (case, address)
            assert known.issuperset(Outline(answer.content.decode()).elements), (case, address)


def test_what_is_done_is_told_as_text(browser: Client, things: Things) -> None:
    """Messages, the undo beside them, and forms that are shown again."""
    things.call("cat", TAGS)
    plain = everything_is_done(browser, things, "cat")
    for case, name in NAMES.items():
        things.call(name, TAGS)
        hostile = everything_is_done(browser, things, name)
        assert [page.elements for page in hostile] == [page.elements for page in plain], case
        kept = clean_name(name)[:50]
        assert [kept in page.words for page in hostile[:4]] == [True] * 4, case


def everything_is_done(browser: Client, things: Things, name: str) -> list[Outline]:
    page, key = f"/images/{things.image.id}", things.key
    too_many = ",".join(map(str, range(50)))
    answers = [
        browser.post(f"{page}/delete/", {"how": "trash"}, follow=True),
        browser.post(f"{page}/restore/", follow=True),
        browser.post(f"/uploads/{things.upload.id}/", follow=True),
        browser.post(f"/keys/{key.id}/revoke/", follow=True),
        browser.post(f"{page}/edit/", {"name": name, "tags": too_many}),
        browser.post("/keys/", {"name": name[:100]}),
    ]
    things.upload = Upload.objects.get(id=announce(things.api, pictures.jpeg()).json()["id"])
    things.key, _ = ApiKey.objects.mint(key.owner, scopes=["read"])
    return [Outline(answer.content.decode()) for answer in answers]


@pytest.mark.parametrize(
    "name", ["\u202e", "\u2066", "\u2069", "\u2028", "\r\n", "\x1b[2J", "\x9b"]
)
def test_nothing_in_a_name_turns_or_ends_its_line(
    api: APIClient, things: Things, name: str
) -> None:
    things.call(f"a{name}b", [])
    key = api.post(f"{API}/keys", {"name": f"a{name}b", "scopes": ["read"]}, format="json").json()
    for called in (
        Image.objects.first(),
        things.upload,
        things.key,
        ApiKey.objects.get(id=key["id"]),
    ):
        assert re.fullmatch(r"a(\[2J)?b", str(called))
