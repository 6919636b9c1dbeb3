"""What is no picture, or only the beginning of one."""

from tests import pictures
from tests.bombs.gif import screen
from tests.bombs.making import HEADER, MiB, add
from tests.bombs.png import SIGNATURE, ihdr
from tests.bombs.polyglots import PAYLOADS

for name, body, expected in (
    ("a NUL", b"\0", "not_an_image"),
    ("a byte", b"\xff", "not_an_image"),
    ("a JPEG's first bytes", b"\xff\xd8\xff", "truncated"),
    ("a PNG's first bytes", SIGNATURE, "not_an_image"),
    ("a PNG's header", SIGNATURE + ihdr(8, 8), "truncated"),
    ("a GIF's first bytes", b"GIF89a", "truncated"),
    ("a GIF's header", screen(1, 1), "truncated"),
    ("a WebP's first bytes", b"RIFF\0\0\0\0WEBP", "not_an_image"),
    ("a WebP's header", pictures.webp()[:30], "truncated"),
    ("an AVIF's first bytes", b"\0\0\0\x0cftypavif", "not_an_image"),
    ("an AVIF's header", pictures.avif()[:100], "truncated"),
    ("spaces", b" " * MiB, "not_an_image"),
    ("HTML", PAYLOADS["HTML"], "not_an_image"),
    ("a shell's script", b"#!/bin/sh\nreboot\n", "not_an_image"),
    ("a picture that is drawn by code", b"<svg onload='alert(1)'/>", "not_an_image"),
):
    add(f"Nothing but {name}", bytes, body, expected=expected, shown_by=HEADER)
add("Nothing", bytes, expected="empty", shown_by=HEADER)
