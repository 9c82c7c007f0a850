"""Forms in the requests of Flask and Django, whose body is there once."""

import io
from collections.abc import Callable
from contextlib import closing
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest as DjangoRequest
from flask import Request as FlaskRequest
from starlette.requests import Request as StarletteRequest

from scalekit.errors import ConfigurationError
from scalekit.storage import MemoryStorage
from tests.storage.forms import BOUNDARY, form, part
from tests.storage.helpers import PNG

BODY = form(part("title", "Cat"), part("photo", PNG, filename="cat.png"))


@pytest.fixture(autouse=True)
def configured() -> None:
    if not settings.configured:
        settings.configure()


class Socket(io.BytesIO):
    """A connection that stays open: who reads beyond what was sent would wait for ever."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        assert content or not size, "waits for bytes that were read before"
        return content


def environ() -> dict[str, Any]:
    result: dict[str, Any] = {
        "wsgi.input": Socket(BODY),
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(BODY)),
    }
    setup_testing_defaults(result)
    return result | {"CONTENT_TYPE": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.mark.parametrize("make", [dict, FlaskRequest, DjangoRequest])
def test_a_request_or_its_environment(make: Callable[[dict[str, Any]], Any]) -> None:
    """The request of a framework is as good as the WSGI environment that it was made of."""
    with MemoryStorage().sync() as storage, storage.form(make(environ())) as found:
        assert found.fields["title"] == "Cat"
        assert storage.read(found.files["photo"].key) == PNG


@pytest.mark.parametrize(
    "read",
    [
        lambda request: request.form,
        lambda request: request.files,
        lambda request: request.get_data(),
    ],
)
@pytest.mark.parametrize("given", ["request", "environ"])
def test_a_body_that_flask_has_read(read: Callable[[FlaskRequest], Any], given: str) -> None:
    """What read the form before, as a check of CSRF tokens does, is told; nobody waits for what is gone."""
    with FlaskRequest(environ()) as request, MemoryStorage().sync() as storage:
        read(request)
        with (
            pytest.raises(ConfigurationError, match=r"was read before, by request\.form"),
            storage.form(request if given == "request" else request.environ),
        ):
            raise AssertionError("there is nothing to read")


@pytest.mark.parametrize("read", [lambda request: request.POST, lambda request: request.body])
def test_a_body_that_django_has_read(read: Callable[[DjangoRequest], Any]) -> None:
    """The same with Django, whose own check of CSRF tokens reads each POST."""
    request = DjangoRequest(environ())
    read(request)
    with (
        closing(request),
        MemoryStorage().sync() as storage,
        pytest.raises(ConfigurationError, match=r"was read before, by .*request.POST.* CSRF"),
        storage.form(request),
    ):
        raise AssertionError("there is nothing to read")


@pytest.mark.parametrize("wrong", [StarletteRequest({"type": "http", "headers": []}), {}, None, "photo"])
def test_what_is_no_wsgi_request(wrong: Any) -> None:
    """A request of ASGI is told where it belongs."""
    with (
        MemoryStorage().sync() as storage,
        pytest.raises(
            ConfigurationError, match=f"not {type(wrong).__name__}; under ASGI it is .*stream_form"
        ),
        storage.form(wrong),
    ):
        raise AssertionError("it is none")
