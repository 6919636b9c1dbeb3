"""The pages in a real browser: with JavaScript and without it, from sending a picture to deleting it."""

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from media_api import examination
from media_api.models import ApiKey, Image, SignInLink, Upload
from media_api.storage import ImageStorage
from media_api.uploads import Announcement, announce, receive
from tests import pictures
from tests.serving import wait_until
from tests.viewing import OPTIONS, views

MiB = 1024 * 1024

DROP = """
(files) => {
  const carried = new DataTransfer();
  for (const [name, body] of files) {
    const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true }));
}
"""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """For this module only: while it is open, Django takes the test for asynchronous code."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def plain_static_files(settings: Settings) -> None:
    """The live server finds the files by themselves, under their own names."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}


@pytest.fixture
def open_page(
    browser: Browser,
    plain_static_files: None,
    live_server: LiveServer,
    alice: User,
    storage: ImageStorage,
) -> Iterator[Any]:
    """Sign alice in and open a page; at the end the browser must not have complained of anything."""
    complaints: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        is_refusal = re.search("status of (403|422)", message.text)  # the page tells it in words
        if message.type in ("error", "warning") and not is_refusal:
            complaints.append(f"{message.text} {message.location}")

    def open_page(address: str, **options: Any) -> Page:
        context = browser.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.goto(f"/login/{SignInLink.objects.mint(alice)}/")
        page.get_by_role("main").get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def written(folder: Path, **bodies: bytes) -> list[Path]:
    paths = []
    for name, body in bodies.items():
        paths.append(folder / f"{name}.jpg")
        paths[-1].write_bytes(body)
    return paths


def drop(page: Page, **bodies: bytes) -> None:
    files = [[f"{name}.jpg", base64.b64encode(body).decode()] for name, body in bodies.items()]
    page.evaluate(DROP, files)


def test_the_whole_way_without_javascript(open_page: Any, worker: None, tmp_path: Path) -> None:
    page = open_page("/upload/", java_script_enabled=False)
    files = written(tmp_path, cat=pictures.jpeg(400, 300), dog=pictures.jpeg(300, 400))
    page.get_by_label("Choose pictures").set_input_files(files)
    page.get_by_role("main").get_by_role("button", name="Upload").click()
    expect(page.get_by_text("2 pictures have arrived.")).to_be_visible()
    page.get_by_role("link", name="See them in the gallery").click()
    expect(page.get_by_text("2 pictures")).to_be_visible()
    page.get_by_role("link", name="cat.jpg").click()
    expect(page.get_by_role("heading", level=1, name="cat.jpg")).to_be_visible()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.get_by_text("cat.jpg is in the trash.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("cat.jpg is back in the gallery.")).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Tags").fill("pets, home")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="#pets").click()
    expect(page.get_by_text("1 picture", exact=True)).to_be_visible()


def test_what_has_no_room_is_said_and_can_be_tried_again(
    open_page: Any, worker: None, settings: Settings
) -> None:
    body = pictures.jpeg(400, 300)
    settings.OWNER_QUOTA = len(body)
    page = open_page("/upload/")
    drop(page, cat=body, dog=body)
    expect(page.get_by_text("1 picture kept. 1 picture not kept, see below.")).to_be_visible()
    expect(page.get_by_text("Not kept. There is no room for it")).to_be_visible()
    settings.OWNER_QUOTA = None
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("2 pictures kept.")).to_be_visible()


def test_what_is_set_aside_is_safe_and_not_sent_again(open_page: Any) -> None:
    page, upload_page = open_page("/upload/"), open_page("/upload/")
    drop(page, cat=pictures.jpeg(400, 300))
    expect(page.get_by_text("Arrived, is being looked at")).to_be_visible()
    wait_until(Upload.objects.waiting().exists)
    upload = Upload.objects.get()
    upload_page.goto(f"/uploads/{upload.id}/")
    expect(upload_page.get_by_text("is being looked at")).to_be_visible()
    examination.set_aside(upload, examination.FAILED)
    for each in page, upload_page:
        expect(each.get_by_text(examination.FAILED)).to_be_visible()
    expect(page.get_by_text("1 picture not looked at yet, see below.")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_the_whole_way_by_dropping(
    open_page: Any, worker: None, storage: ImageStorage, settings: Settings
) -> None:
    settings.PART_THRESHOLD = settings.PART_SIZE = 5 * MiB
    page = open_page("/upload/", permissions=["clipboard-read", "clipboard-write"])
    large = pictures.large(11 * MiB)
    drop(page, cat=pictures.jpeg(800, 600), large=large)
    expect(page.get_by_text("2 pictures kept.")).to_be_visible()
    assert storage.read(Image.objects.get(name="large.jpg").path) == large
    page.get_by_role("link", name="See the gallery").click()
    picture = page.get_by_role("img", name="cat.jpg")
    picture.click()
    picture = page.get_by_role("img", name="cat.jpg")
    page.wait_for_function("document.querySelector('.stage .picture').naturalWidth === 800")

    original_row = page.locator(".addresses li", has_text="Original")
    original_row.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    with urlopen(link) as original:
        assert original.status == 200
    page.get_by_text("Markdown").click()
    page.get_by_text("For you").click()
    expect(page.get_by_label("320, Markdown").locator("visible=true")).to_have_value(
        f"![cat.jpg]({settings.PUBLIC_URL}/i/{Image.objects.get(name='cat.jpg').id}/320)"
    )

    page.get_by_role("button", name="Move to trash").click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("cat.jpg was deleted for good.")).to_be_visible()
    for _ in range(100):
        page.wait_for_timeout(50)
        if not is_there(link):
            break
    assert not is_there(link)


def is_there(link: str) -> bool:
    try:
        with urlopen(link):
            return True
    except HTTPError:
        return False


def test_a_refusal_is_told_beside_its_file(open_page: Any, worker: None) -> None:
    page = open_page("/upload/")
    drop(page, cat=pictures.jpeg(), cut=pictures.truncated(pictures.jpeg(300, 300)))
    row = page.locator(".transfer", has_text="cut.jpg")
    expect(row).to_contain_text("Not kept. It ends too early")
    expect(page.get_by_text("1 picture kept. 1 picture not kept, see below.")).to_be_visible()


@pytest.mark.parametrize("width", [320, 768, 1440])
def test_pages_fit_and_break_no_rule(open_page: Any, alice: User, worker: None, width: int) -> None:
    page = open_page("/upload/", viewport={"width": width, "height": 700}, color_scheme="dark")
    drop(page, **{"long-" + "name" * 60: pictures.jpeg(600, 200)})
    expect(page.get_by_text("1 picture kept.")).to_be_visible()
    image = Image.objects.get()
    key, _ = ApiKey.objects.mint(alice, scopes=["read"], name="k" * 100)
    upload = announce(alice, Announcement("u" * 255, 10, "image/jpeg"))
    for address in (
        "/",
        "/?q=long&type=jpeg&tag=" + "t" * 64,
        "/upload/",
        "/uploads/",
        f"/uploads/{upload.id}/",
        f"/images/{image.id}/",
        f"/images/{image.id}/edit/",
        f"/images/{image.id}/delete/",
        "/trash/",
        "/keys/",
        f"/keys/{key.id}/revoke/",
        "/account/",
        "/account/password/",
        "/api/docs/errors/",
        "/api/docs/",
    ):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    expect(page.locator(".opblock").first).to_be_visible()


def test_a_page_that_is_seen_again_asks_the_bucket_for_nothing(
    open_page: Any, worker: None
) -> None:
    page = open_page("/upload/")
    drop(page, cat=pictures.jpeg(400, 300), dog=pictures.jpeg(300, 400))
    expect(page.get_by_text("2 pictures kept.")).to_be_visible()
    assert views(page, "/") == (2, 0)


def test_what_waits_is_shown_when_it_is_kept(
    open_page: Any, alice: User, request: pytest.FixtureRequest
) -> None:
    body = pictures.jpeg()
    receive(alice, BytesIO(body), Announcement("cat.jpg", len(body), "image/jpeg"))
    page = open_page("/uploads/")
    expect(page.get_by_text("is being looked at")).to_be_visible()
    request.getfixturevalue("worker")
    expect(page.get_by_role("img", name="cat.jpg")).to_be_visible()


def test_names_that_are_scripts_run_nothing(open_page: Any, alice: User, worker: None) -> None:
    """The browser would complain of a script or a style that the CSP stopped, and a dialog would open."""
    page = open_page("/upload/")
    opened: list[Dialog] = []
    page.on("dialog", lambda dialog: opened.append(dialog))
    drop(page, cat=pictures.jpeg(300, 200))
    expect(page.get_by_text("1 picture kept.")).to_be_visible()
    name = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}"
    image = Image.objects.get()
    Image.objects.update(name=name, tags=["<svg onload=alert(3)>"])
    key, _ = ApiKey.objects.mint(alice, scopes=["read"], name=name)
    upload = announce(alice, Announcement(name, 10, "image/jpeg"))
    for address in (
        "/",
        "/?q=" + quote(name),
        "/uploads/",
        f"/uploads/{upload.id}/",
        f"/images/{image.id}/",
        f"/images/{image.id}/edit/",
        f"/images/{image.id}/delete/",
        "/keys/",
        f"/keys/{key.id}/revoke/",
    ):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        assert page.locator("[onerror], [onload], main script").count() == 0
    page.goto(f"/images/{image.id}/")
    page.get_by_text("HTML", exact=True).click()
    page.get_by_role("button", name="Move to trash").click()
    expect(page.get_by_text(f"{name} is in the trash.")).to_be_visible()
    page.goto("/trash/")
    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    assert opened == []


def test_names_from_right_to_left_keep_their_places(open_page: Any, worker: None) -> None:
    """Beside each other they would else change places, as words of one sentence do."""
    page, same = open_page("/upload/"), pictures.jpeg(300, 200)
    drop(page, one=same, two=same, three=same)
    expect(page.get_by_text("3 pictures kept.")).to_be_visible()
    Image.objects.update(name="\u05e9\u05dc\u05d5\u05dd")
    image = Image.objects.first()
    assert image
    page.goto(f"/images/{image.id}/")
    first, second = page.locator(".facts dd a.break").all()
    assert first.bounding_box()["x"] < second.bounding_box()["x"]
