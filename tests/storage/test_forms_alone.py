"""Forms with nothing but their own extra: no S3 client is installed where tox runs this file alone."""

from pathlib import Path

import pytest

from scalekit.errors import FileTooLarge, UnsupportedMediaType
from scalekit.storage import FileStorage, MemoryStorage, Storage
from scalekit.storage.forms import stream_form
from tests.storage.forms import form, part, request
from tests.storage.helpers import PNG


@pytest.fixture(params=["memory", "files"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(tmp_path)


def _photo() -> bytes:
    return form(part("title", b"A fern"), part("photo", PNG, filename="fern.png", content_type="image/png"))


async def test_fields_and_files_arrive(storage: Storage) -> None:
    """A form's fields are text, and its file is in the storage under a key of the storage's own."""
    async with stream_form(request(_photo()), storage, accept=["image/*"]) as received:
        assert received.fields["title"] == "A fern"
        stored = await storage.stat(received.files["photo"].key)
    assert stored is not None
    assert stored.size == len(PNG)


async def test_too_much_is_refused(storage: Storage) -> None:
    """A file over the limit is refused, and nothing is stored."""
    with pytest.raises(FileTooLarge):
        async with stream_form(request(_photo()), storage, max_file_size=len(PNG) - 1):
            pass
    assert [each async for each in storage.list("")] == []


async def test_a_lie_about_the_type_is_refused(storage: Storage) -> None:
    """What claims to be a picture and is not is refused, and nothing is stored."""
    lie = form(part("photo", b"<!doctype html><p>hello", filename="fern.png", content_type="image/png"))
    with pytest.raises(UnsupportedMediaType):
        async with stream_form(request(lie), storage, accept=["image/*"]):
            pass
    assert [each async for each in storage.list("")] == []
