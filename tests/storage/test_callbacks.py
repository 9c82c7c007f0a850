"""The functions that an application gives to take uploads, and what is said of those that could not work."""

from collections.abc import Callable
from typing import Any

import pytest

from scalekit.errors import ConfigurationError
from scalekit.storage import MemoryStorage
from scalekit.storage.direct import DirectUploads
from scalekit.storage.s3 import S3Storage
from scalekit.storage.tus import TusUploads
from tests.storage.tus_requests import client_of, create

SECRET = "a key that is long enough"
Make = Callable[..., Any]


def tus(**options: Any) -> TusUploads:
    return TusUploads(MemoryStorage(), secret_key=SECRET, **options)


def direct(**options: Any) -> DirectUploads:
    return DirectUploads(S3Storage("media"), secret_key=SECRET, **options)


async def ann(scope: Any) -> str:
    return "ann"


@pytest.mark.parametrize("make", [tus, direct])
def test_at_start_up(make: Make) -> None:
    """What cannot be called, or would have to be awaited where nobody does, is told at start-up."""
    with pytest.raises(ConfigurationError, match="user= must be a plain function"):
        make(user=ann)
    with pytest.raises(ConfigurationError, match="user= must be a function of the scope, not"):
        make(user="ann")
    with pytest.raises(ConfigurationError, match="on_complete= must be a coroutine function"):
        make(on_complete=[])
    make(user=lambda scope: "ann", on_complete=ann)


@pytest.mark.parametrize("make", [tus, direct])
async def test_a_user_that_is_a_number(make: Make) -> None:
    """A number, as databases have for users, is told together with what to write instead."""
    async with client_of(make(user=lambda scope: 7)) as client:
        with pytest.raises(ConfigurationError, match=r"user= answered int; return a str, as str\(user.id\)"):
            await client.post("/", headers={"tus-resumable": "1.0.0", "upload-length": "5"}, json={})


async def test_a_plain_function_for_files() -> None:
    """One that cannot be awaited is told by the name of its option."""
    app = tus(on_complete=lambda file: None)
    async with client_of(app) as client:
        with pytest.raises(
            ConfigurationError, match="on_complete= must be a coroutine function; write `async"
        ):
            await create(client, 0)
