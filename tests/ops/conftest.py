"""Patience with checks, links and other processes: what a busy machine takes is no answer."""

from collections.abc import Iterator

import pytest

from scalekit.ops import Check, checks, siblings
from tests.patience import patient_links


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The probe that starts a run waits until it is over, and a check that is not told how long it may take
    takes its time. By themselves they wait for a quarter of a second and a whole one; a scrape for two of
    what other processes tell; and the first request for one until it is known whether it may write."""
    monkeypatch.setattr(checks, "PATIENCE", 60.0)
    monkeypatch.setitem(Check.__init__.__kwdefaults__, "timeout", 60.0)
    monkeypatch.setattr(siblings, "_PATIENCE", 60.0)
    for shell in ("_asgi_read_only", "_wsgi_read_only"):
        monkeypatch.setattr(f"scalekit.ops.{shell}.FIRST_LOOK", 60.0)
    with patient_links():
        yield


@pytest.fixture
def impatience(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hardly waits, for what takes longer by intent."""
    monkeypatch.setattr(checks, "PATIENCE", 0.01)
