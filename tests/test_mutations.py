"""Whatever became of a good file: a verdict, or facts that can be. Never a fault, never a dead process."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from media_api import imaging
from media_api.cage import reply
from media_api.exceptions import Verdict
from media_api.sandbox import Sandbox, understand
from tests.conftest import Work
from tests.mutations import mutated
from tests.sending import path_of, send
from tests.test_imaging import LIMITS

SMALL = replace(LIMITS, max_jpeg_pixels=10**6, max_pixels=10**6)
bodies = st.randoms(use_true_random=False).map(mutated)


@pytest.fixture(scope="module")
def cage() -> Iterator[Sandbox]:
    cage = Sandbox()
    yield cage
    cage.close()


@settings(max_examples=500, derandomize=True, deadline=None)
@given(bodies)
def test_a_mutation_gets_a_verdict_or_facts_that_can_be(body: bytes) -> None:
    answer = b"".join(reply(imaging.examine, BytesIO(body), SMALL))
    with suppress(Verdict):
        understand(answer, 0, SMALL, size=len(body))


def test_a_mutation_kills_no_child(cage: Sandbox) -> None:
    for seed in range(200):
        with tempfile.TemporaryFile() as file, suppress(Verdict):
            file.write(mutated(Random(seed)))
            cage.examine(file, limits=SMALL, timeout=10, memory=1024**3)


def test_a_mutation_is_kept_or_refused_by_the_service(api: APIClient, work: Work) -> None:
    answers = [send(api, mutated(Random(seed)) or b"x") for seed in range(40)]
    work()
    states = [api.get(path_of(answer["Location"])).json()["state"] for answer in answers]
    assert set(states) == {"kept", "refused"}
