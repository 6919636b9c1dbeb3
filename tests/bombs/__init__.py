"""Files that were made to hurt whoever reads them: small, made in code, each with what must become of it.

Each is a function whose name says what is wrong, or a row of a loop. What is expected is the code of
a verdict, or KEPT. `HEADER` marks those whose header alone gives them away, `WHOLE` those for which a
decoder first takes what a good picture of that size takes.
"""

from tests.bombs import nothing  # the last: it and those that it imports enter theirs
from tests.bombs.making import BOMBS, DECODING, HEADER, KEPT, WHOLE, Bomb, MiB
from tests.bombs.polyglots import PAYLOADS, PLACES

__all__ = [
    "BOMBS", "DECODING", "HEADER", "KEPT", "PAYLOADS", "PLACES", "WHOLE", "Bomb", "MiB", "nothing",
]  # fmt: skip
