"""What Pillow can still open in a child: `python -m tests.opening` is the cage with a decoder that asks it.

Empty is what it says of a picture that was opened, however it came to that.
"""

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from media_api import cage, imaging
from media_api.exceptions import Empty, NotAnImage


def examine(file: BinaryIO, *, limits: imaging.Limits) -> imaging.Facts:
    try:
        Image.open(file).load()
    except UnidentifiedImageError:
        raise NotAnImage from None
    raise Empty


if __name__ == "__main__":
    cage.main(examine)
