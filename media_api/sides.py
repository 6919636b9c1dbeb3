"""Which renditions a picture has, and how large they are: arithmetic that the worker and the links must agree on."""

from functools import lru_cache

SIDES = (320, 640, 1280, 2560)


def rendition_sides(width: int, height: int) -> list[int]:
    """The sides a picture of this size has renditions for: those below its longest, and always the smallest."""
    return [side for side in SIDES if side < max(width, height)] or [SIDES[0]]


@lru_cache  # most pictures are of a few sizes, and a page of a list asks 200 times
def fit(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height with the longest side at most `side`, same proportions, never enlarged, each at least 1."""
    scale = min(1, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
