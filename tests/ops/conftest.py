"""Patience with checks and with other processes: what a busy machine takes is no answer."""

import pytest

from scalekit.ops import checks, siblings


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe that starts a run waits until it is over. By itself it waits for a quarter of a second; and a
    scrape for two of what other processes tell."""
    monkeypatch.setattr(checks, "PATIENCE", 60.0)
    monkeypatch.setattr(siblings, "_PATIENCE", 60.0)


@pytest.fixture
def impatience(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hardly waits, for what takes longer by intent."""
    monkeypatch.setattr(checks, "PATIENCE", 0.01)
