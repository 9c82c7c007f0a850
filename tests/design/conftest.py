"""Patience with servers: that one has no turn on a busy machine is tested where it is meant."""

from collections.abc import Iterator

import pytest

from tests.patience import patient_clusters, patient_links


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A link or a cluster that is not told how long to wait waits for long."""
    with patient_links(), patient_clusters():
        yield
