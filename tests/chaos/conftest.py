"""These tests have services of their own; `make test` runs them beside the others."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _static_files() -> None:
    """No page is looked at, and another run may be collecting them."""
