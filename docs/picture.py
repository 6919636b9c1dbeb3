"""Make docs/gallery.png, the README's picture: send painted landscapes to a running service, and look at its gallery.

    make run DATA=/tmp/picture
    DATA=/tmp/picture .venv/bin/python manage.py user painter
    .venv/bin/python docs/picture.py <the link that this printed>

CHROMIUM may name the browser.
"""

import os
import sys
from io import BytesIO
from math import sin
from pathlib import Path
from random import Random
from urllib.parse import urljoin

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Page, sync_playwright

TARGET = Path(__file__).with_name("gallery.png")
WINDOW = {"width": 1440, "height": 900}
LOADED = "[...document.querySelectorAll('.tile .picture')].every((i) => i.complete)"
SHAPES = [(3, 2), (2, 3), (16, 9), (1, 1), (4, 3), (3, 2), (3, 4), (2, 1)]
SKIES = [  # above, at the horizon, hills
    ((28, 48, 92), (245, 178, 132), (36, 40, 62)),
    ((92, 158, 196), (236, 240, 226), (44, 88, 84)),
    ((18, 22, 48), (96, 74, 128), (14, 16, 32)),
    ((242, 196, 148), (250, 236, 214), (150, 92, 74)),
    ((120, 178, 172), (238, 226, 190), (58, 92, 66)),
    ((60, 96, 150), (222, 206, 214), (62, 66, 104)),
]

Colour = tuple[int, int, int]


def blend(one: Colour, other: Colour, part: float) -> Colour:
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def landscape(number: int) -> bytes:
    """A sky, a sun, and hills that fade into the distance."""
    random = Random(number)
    across, down = SHAPES[number % len(SHAPES)]
    scale = 1100 / max(across, down)
    width, height = round(across * scale), round(down * scale)
    above, horizon, hills = SKIES[number % len(SKIES)]
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        draw.line((0, y, width, y), blend(above, horizon, min(1.0, y / height * 1.5)))
    left, top = random.uniform(0.2, 0.8) * width, random.uniform(0.2, 0.45) * height
    radius = height / 14
    draw.ellipse(
        (left - radius, top - radius, left + radius, top + radius),
        blend(horizon, (255, 255, 255), 0.6),
    )
    picture = picture.filter(ImageFilter.GaussianBlur(1.5))
    draw = ImageDraw.Draw(picture)
    for layer in range(5):
        waves = [
            (random.uniform(1, 9) / width, random.uniform(0, 7), random.uniform(0.2, 1))
            for _ in range(4)
        ]
        level = height * (0.52 + layer * 0.1)
        ridge = [
            (
                x,
                level
                - height
                * 0.06
                * sum(strength * sin(x * speed + start) for speed, start, strength in waves),
            )
            for x in range(0, width + 8, 4)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], blend(horizon, hills, (layer + 1) / 5))
    body = BytesIO()
    picture.save(body, "JPEG", quality=88)
    return body.getvalue()


def send(page: Page, link: str) -> None:
    page.goto(urljoin(link, "/upload/"))
    files = [
        {
            "name": f"landscape-{number:02}.jpg",
            "mimeType": "image/jpeg",
            "buffer": landscape(number),
        }
        for number in range(19)
    ]
    page.set_input_files("input[type=file]", files)  # type: ignore[arg-type]
    page.get_by_text("19 pictures kept").wait_for()


def picture(link: str) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        page.goto(link)
        page.get_by_role("main").get_by_role("button").click()
        page.wait_for_url(urljoin(link, "/"))
        send(page, link)
        page.goto(urljoin(link, "/"))
        page.wait_for_function(LOADED)
        body = page.screenshot()
        browser.close()
    return body


if __name__ == "__main__":
    Image.open(BytesIO(picture(sys.argv[1]))).convert("RGB").save(TARGET, optimize=True)
