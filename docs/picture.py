"""Make docs/gallery.png, the README's picture, of a running service that has some pictures.

    .venv/bin/python docs/picture.py "$(.venv/bin/python manage.py user admin)"

The argument is a one-time sign-in link. CHROMIUM may name the browser.
"""

import os
import sys
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).with_name("gallery.png")
SIZE = {"width": 1440, "height": 900}
LOADED = "[...document.querySelectorAll('.tile .picture')].slice(0, 20).every((i) => i.complete)"


def picture(link: str) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(link)
        page.get_by_role("main").get_by_role("button").click()
        page.wait_for_url(urljoin(link, "/"))
        page.wait_for_function(LOADED)
        body = page.screenshot()
        browser.close()
    return body


if __name__ == "__main__":
    shown = Image.open(BytesIO(picture(sys.argv[1]))).convert("RGB")
    shown.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(TARGET, optimize=True)
