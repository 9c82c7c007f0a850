"""Patience with servers: that one has no turn on a busy machine is tested where it is meant."""

from collections.abc import Iterator

import pytest

from tests.patience import patient_links


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A link that is not told how long to wait waits for long."""
    with patient_links():
        yield
