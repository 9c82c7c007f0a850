"""What the applications say when they are given something else than a storage."""

from typing import Any

import pytest

from scalekit.errors import ConfigurationError
from scalekit.storage import MemoryStorage, serve, wsgi
from scalekit.storage.tus import TusUploads


@pytest.mark.parametrize("wrong", [MemoryStorage().sync(), "media", MemoryStorage, None])
def test_an_asgi_application_wants_the_storage_itself(wrong: Any) -> None:
    """Its ``.sync()``, a path or the class is a mistake at start-up, and not with the first request."""
    for make in (
        serve.StorageFiles,
        lambda storage: TusUploads(storage, secret_key="a key that is long enough"),
    ):
        with pytest.raises(ConfigurationError, match="storage must be a storage, such as"):
            make(wrong)


@pytest.mark.parametrize("wrong", ["media", MemoryStorage, None])
def test_a_wsgi_application_takes_either(wrong: Any) -> None:
    """Under WSGI a storage and its ``.sync()`` are as good; anything else is the same mistake."""
    wsgi.StorageFiles(MemoryStorage())
    wsgi.StorageFiles(MemoryStorage().sync())
    with pytest.raises(ConfigurationError, match="storage must be a storage, such as"):
        wsgi.StorageFiles(wrong)
