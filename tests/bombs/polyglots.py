"""What is something else at the same time, to whoever reads it from elsewhere or as something else."""

import zipfile
from collections.abc import Callable
from io import BytesIO
from itertools import product

from tests import pictures
from tests.bombs.avif import avif, box
from tests.bombs.gif import TRAILER, frame, screen
from tests.bombs.jpeg import jpeg, segment
from tests.bombs.making import HEADER, add
from tests.bombs.metadata import exif, icc
from tests.bombs.png import png
from tests.bombs.webp import riff_chunk, webp
from tests.pictures import chunk


def archive() -> bytes:
    body = BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        file.writestr(zipfile.ZipInfo("evil.txt"), b"evil")
    return body.getvalue()


PAYLOADS = {
    "HTML": b"<!DOCTYPE html><html><script>alert(document.cookie)</script></html>",
    "JavaScript": b"*/=1;alert(document.cookie);/*",
    "PHP": b"<?php system($_GET[0]); ?>",
    "PDF": b"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
    "ZIP": archive(),
}
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "a JPEG's comment": lambda payload: jpeg(segment(0xFE, payload)),
    "a JPEG's APP0": lambda payload: jpeg(segment(0xE0, payload)),
    "a JPEG's EXIF": lambda payload: jpeg(exif(payload)),
    "a JPEG's profile": lambda payload: jpeg(*icc(payload)),
    "a JPEG's quantisation": lambda payload: jpeg(segment(0xDB, b"\0" + payload[:64].ljust(64))),
    "what follows a JPEG": lambda payload: pictures.jpeg() + payload,
    "a PNG's text": lambda payload: png(chunk(b"tEXt", b"Comment\0" + payload)),
    "a PNG's text after its data": lambda payload: png(after=chunk(b"tEXt", b"a\0" + payload)),
    "a PNG's unknown chunk": lambda payload: png(chunk(b"shOe", payload)),
    "a PNG's EXIF": lambda payload: png(chunk(b"eXIf", payload)),
    "a PNG's palette": lambda payload: png(chunk(b"PLTE", payload.ljust(300))),
    "what follows a PNG": lambda payload: png() + payload,
    "a GIF's comment": lambda payload: gif(b"!\xfe" + blocks(payload)),
    "a GIF's application": lambda payload: gif(b"!\xff\x0bNETSCAPE2.0" + blocks(payload)),
    "a GIF's size": lambda payload: screen(0x2A2F, 1) + gif(b"!\xfe" + blocks(payload))[19:],
    "what follows a GIF": lambda payload: gif() + payload,
    "a WebP's unknown chunk": lambda payload: webp(riff_chunk(b"shoe", payload)),
    "a WebP's EXIF": lambda payload: webp(riff_chunk(b"EXIF", payload)),
    "a WebP's XMP": lambda payload: webp(riff_chunk(b"XMP ", payload), flags=0x04),
    "what follows a WebP": lambda payload: pictures.webp() + payload,
    "an AVIF's free box": lambda payload: avif(box(b"free", payload)),
    "an AVIF's uuid box": lambda payload: avif(box(b"uuid", bytes(16), payload)),
    "an AVIF's last box": lambda payload: pictures.avif() + box(b"mdat", payload),
    "what follows an AVIF": lambda payload: pictures.avif() + payload,
}


def gif(*before: bytes) -> bytes:
    return screen(1, 1) + b"".join(before) + frame(1, 1) + TRAILER


def blocks(body: bytes) -> bytes:
    pieces = [body[at : at + 255] for at in range(0, len(body), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


for (payload, body), (place, inside) in product(PAYLOADS.items(), PLACES.items()):
    add(f"{payload} in {place}", inside, body)
for payload, body in PAYLOADS.items():
    for name, whole in {"JPEG": pictures.jpeg(), "PNG": png(), "GIF": gif()}.items():
        add(
            f"{payload} in front of a {name}",
            bytes,
            body + whole,
            expected="not_an_image",
            shown_by=HEADER,
        )
