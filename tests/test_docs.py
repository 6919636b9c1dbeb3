"""Documentation that fails the build when it is not true."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_api.exceptions import Refusal

ROOT = Path(__file__).resolve().parent.parent


def refusals(base: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for refusal in base.__subclasses__():
        if hasattr(refusal, "code"):
            yield refusal
        yield from refusals(refusal)


def test_every_refusal_is_explained() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| (.+) \|$", (ROOT / "docs/errors.md").read_text(), re.M
    )
    assert rows == [
        (refusal.code, str(refusal.status), refusal.sentence)
        for refusal in sorted(set(refusals()), key=lambda refusal: (refusal.status, refusal.code))
    ]


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("document", ["security", "reliability"])
def test_what_is_promised_has_its_tests(document: str) -> None:
    text = (ROOT / f"docs/{document}.md").read_text()
    named = re.findall(r"`((?:chaos/)?test_\w+)::(test_\w+)`", text)
    assert len(named) > 10
    missing = [
        f"{module}::{function}"
        for module, function in named
        if f"\ndef {function}(" not in (ROOT / f"tests/{module}.py").read_text()
    ]
    assert missing == []
    tables = re.findall(r"^\|.*proven by \|\n\|[-|:]+\|\n((?:\|.*\n)+)", text, re.M)
    rows = "".join(tables).splitlines()
    assert len(rows) > 10
    assert [row for row in rows if not re.search(r"`(chaos/)?test_", row)] == []
