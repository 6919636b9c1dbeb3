"""A real browser, and what it asks the bucket for."""

from typing import Any

from playwright.sync_api import Page

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def views(page: Page, address: str) -> tuple[int, int]:
    """How many pictures a browser that has none asks for when it opens a page, and then when it does so again."""
    session = page.context.new_cdp_session(page)
    session.send("Network.clearBrowserCache")
    session.detach()
    return pictures_asked_for(page, address), pictures_asked_for(page, address)


def pictures_asked_for(page: Page, address: str) -> int:
    """Open a page to its end: how many pictures came over the network, and not from a cache of the browser.

    Timing entries do not tell (they hide what comes from another origin), so the browser's own events do.
    """
    asked: set[str] = set()
    cached: set[str] = set()

    def note(event: dict[str, Any]) -> None:
        if event["type"] == "Image" and event["response"]["url"].startswith("http"):
            (cached if event["response"]["fromDiskCache"] else asked).add(event["requestId"])

    session = page.context.new_cdp_session(page)
    session.on("Network.responseReceived", note)
    session.on("Network.requestServedFromCache", lambda event: cached.add(event["requestId"]))
    session.send("Network.enable")
    page.goto(address)
    for image in page.locator("main img").all():
        image.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    session.detach()
    return len(asked - cached)
