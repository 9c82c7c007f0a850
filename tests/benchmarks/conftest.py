"""Patience with Redis: one that has no turn on a busy machine answers nevertheless."""

from collections.abc import Iterator

import pytest

from tests.patience import patient_links


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A store that is not told how long to wait for its server waits for long."""
    with patient_links():
        yield
