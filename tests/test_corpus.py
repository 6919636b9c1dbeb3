"""Pictures and near-pictures from the test suites of decoders: each gets the verdict it deserves, from the sandbox.

The corpus lies next to the repository, in shared/corpus, and is not part of it.
"""

import csv
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from media_api.exceptions import Verdict
from media_api.sandbox import Limits, examine

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
LIMITS = Limits(
    max_jpeg_pixels=210_000_000,
    max_pixels=120_000_000,
    max_frames=500,
    max_animation_pixels=300_000_000,
    max_scans=100,
)
CODES = {
    "accept": {"kept"},
    "reject as not-an-image": {"not_an_image"},
    "reject as truncated": {"truncated"},
    "reject as too large": {"too_many_pixels", "too_many_frames"},
}
# The list says "accept" of a file that no decoder can show.
DISPUTED = {"bad_iCCP.png": "it has no IDAT chunk, so no pixels, and IHDR's checksum is wrong"}


def cases() -> list[ParameterSet]:
    """A name and what is expected of it for each file, or the reason why there is none."""
    if not CORPUS.is_dir():
        reason = f"the corpus is not at {CORPUS}: nothing was compared"
        return [pytest.param("", "", id="absent", marks=pytest.mark.skip(reason))]
    with (CORPUS / "corpus.tsv").open(newline="") as table:
        return [
            pytest.param(
                row["file"], row["expected verdict"], id=row["file"], marks=dispute(row["file"])
            )
            for row in csv.DictReader(table, delimiter="\t")
        ]


def dispute(name: str) -> list[pytest.MarkDecorator]:
    if name not in DISPUTED:
        return []
    return [pytest.mark.xfail(reason=DISPUTED[name], strict=True)]


@pytest.mark.parametrize(("name", "expected"), cases())
def test_a_file_of_the_corpus_gets_its_verdict(name: str, expected: str) -> None:
    assert verdict_on(name) in CODES[expected]


def verdict_on(name: str) -> str:
    with (CORPUS / name).open("rb") as file:
        try:
            examine(file, limits=LIMITS, timeout=30, memory=1536 * 1024 * 1024)
        except Verdict as verdict:
            return verdict.code
    return "kept"
