"""A page of the gallery seen twice, in a real browser: how many pictures it asks the bucket for."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.service import client, running
from bench.table import Row, report
from tests import pictures
from tests.viewing import OPTIONS, views

PICTURES = 30


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder, "data")) as service:
        with client(service) as api:
            for number in range(PICTURES):
                body = pictures.jpeg(900, 600 + number)
                api.post(
                    "/images?wait=25", files={"file": (f"{number}.jpg", body)}
                ).raise_for_status()
        link = service.manage("user", "bench").stdout.strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=OPTIONS
            )
            page = browser.new_page()
            page.goto(link)
            page.get_by_role("main").get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/")
            first, second = views(page, page.url)
            browser.close()
    work, beside = "a gallery page's second view", f"the first: {first} pictures"
    yield Row(9, work, beside, f"{second} from the bucket", "0", first > 0 == second)


if __name__ == "__main__":
    report(rows())
