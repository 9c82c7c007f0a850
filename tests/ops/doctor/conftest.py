"""Patience with healthy servers: one that has no turn is tested where that is meant."""

import pytest

from scalekit.ops.doctor import Around, around


@pytest.fixture(autouse=True)
def patient_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it asks for three seconds each, and for fifteen altogether."""
    monkeypatch.setattr(around, "_ASKING", 30.0)
    assert Around.__init__.__kwdefaults__
    monkeypatch.setitem(Around.__init__.__kwdefaults__, "timeout", 90.0)
