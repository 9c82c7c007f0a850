"""``Link`` headers, in responses and in early hints."""

from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware
from tests.cdn.drivers import Response, Shell, call_asgi

CSS = "/static/css/base.css"  # refers to no other file, so that it may have integrity


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn="https://cdn.example.net")


def expected(assets: Assets, link: str) -> str:
    """``link`` with each ``@name@`` as that asset's URL."""
    for asset in assets:
        link = link.replace(f"@{asset.name}@", assets.url(asset.name))
    return link


CASES = [
    # What is fetched for the page changes, whatever stands around it.
    (f"<{CSS}>; rel=preload; as=style", "<@css/base.css@>; rel=preload; as=style"),
    (f'<{CSS}>;rel="preload";as="style"', '<@css/base.css@>;rel="preload";as="style"'),
    (f"< {CSS} > ; REL = Preload", "<@css/base.css@> ; REL = Preload"),
    (f"<{CSS}?v=1#x>; rel=stylesheet", "<@css/base.css@?v=1#x>; rel=stylesheet"),
    ("<../static/logo.png>; rel=icon", "<@logo.png@>; rel=icon"),
    ("<http://shop.example/static/logo.png>; rel=icon", "<@logo.png@>; rel=icon"),
    ("</static/img/a%26b.png>; rel=prefetch", "<@img/a&b.png@>; rel=prefetch"),
    (
        f'<{CSS}>; rel="alternate preload"; title="a, <b>; \\"c"',
        '<@css/base.css@>; rel="alternate preload"; title="a, <b>; \\"c"',
    ),
    # Several in one header, and empty elements of the list.
    (
        f", <{CSS}>; rel=preload; as=style,, <https://fonts.example>; rel=preconnect, "
        "</static/app.js>; rel=preload; as=script",
        ", <@css/base.css@>; rel=preload; as=style,, <https://fonts.example>; rel=preconnect, "
        "<@app.js@>; rel=preload; as=script",
    ),
    # What a comma or a semicolon in quotes means.
    (
        f'</x>; title="a,<{CSS}>; rel=preload"; rel=next, <{CSS}>; rel=preload',
        f'</x>; title="a,<{CSS}>; rel=preload"; rel=next, <@css/base.css@>; rel=preload',
    ),
    # Pictures in several sizes.
    (
        '</static/hero.webp>; rel=preload; as=image; imagesrcset="/static/hero.webp 1x, '
        '/static/hero@2x.webp 2x"',
        '<@hero.webp@>; rel=preload; as=image; imagesrcset="@hero.webp@ 1x, @hero@2x.webp@ 2x"',
    ),
    # Other relations, and what is in doubt, stay.
    *[
        (link, link)
        for link in (
            f"<{CSS}>; rel=preconnect",
            f"<{CSS}>; rel=canonical",
            f"<{CSS}>; rel=next; rel=preload",
            "</static/app.js>; rel=preload; as=fetch",
            "</static/app.js>; rel=modulepreload",
            f"<{CSS}>; rel=preload; crossorigin=use-credentials",
            f'<{CSS}>; rel=preload; anchor="/other"',
            f"<{CSS}>; rel=preload; integrity=sha256-x",
            f"<{CSS}>",
            f"{CSS}; rel=preload",
            f"<{CSS}; rel=preload",
            f'<{CSS}>; rel="preload',
            f"<{CSS}> rel=preload",
            "</static/nothing.css>; rel=preload",
            "<https://other.example/static/logo.png>; rel=icon",
            "",
        )
    ],
]


@pytest.mark.parametrize(("link", "want"), CASES)
def test_links(assets: Assets, shell: Shell, link: str, want: str) -> None:
    """A link's target changes where the page's own tag would; nothing else in the header does."""
    sent = Response([b""], {"content-type": "text/html", "link": link})
    reply = shell.page(assets, sent, "/shop/", headers={"host": "shop.example"})
    assert reply.headers["link"] == expected(assets, want)


def test_links_of_what_is_no_page(assets: Assets, shell: Shell) -> None:
    """JSON's links, and those of a page that must not be touched, stay."""
    link = f"<{CSS}>; rel=preload"
    for headers in (
        {"content-type": "text/css"},
        {"content-type": "text/html", "cache-control": "no-transform"},
    ):
        assert shell.page(assets, Response([b""], {**headers, "link": link})).headers["link"] == link


def test_links_of_a_page_that_has_not_changed(assets: Assets, shell: Shell) -> None:
    """A cache takes over the headers of a 304, so they are those of the rewritten page; else they stay."""
    link = f"<{CSS}>; rel=preload"
    for tag, want in (
        (f'"x-{assets.version}"', expected(assets, "<@css/base.css@>; rel=preload")),
        ('"x"', link),
    ):
        sent = Response([b""], {"etag": '"x"', "link": link}, status=304)
        assert shell.page(assets, sent, headers={"if-none-match": tag}).headers["link"] == want


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({"crossorigin": True}, '; crossorigin="anonymous"'),
        ({"integrity": True}, '; integrity="{}"; crossorigin="anonymous"'),
    ],
)
def test_links_get_what_tags_get(assets: Assets, shell: Shell, options: dict[str, bool], added: str) -> None:
    """With the options for it a preload asks for the file as the page's tag will, or it is loaded twice."""
    asset = assets.get("css/base.css")
    assert asset is not None
    sent = Response(
        [b""], {"content-type": "text/html", "link": f"<{CSS}>; rel=preload; as=style, <x>; rel=next"}
    )
    link = shell.page(assets, sent, options=options).headers["link"]
    want = "<@css/base.css@>; rel=preload; as=style" + added.format(asset.integrity) + ", <x>; rel=next"
    assert link == expected(assets, want)


async def test_early_hints(assets: Assets) -> None:
    """A 103 before the page has the URLs that the page will have; a later one too, and Starlette's method."""
    from starlette.requests import Request
    from starlette.responses import HTMLResponse

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive, send)
        await request.send_early_hints(f"<{CSS}>; rel=preload; as=style", "</x>; rel=preconnect")
        await HTMLResponse(f"<link rel=stylesheet href={CSS}>")(scope, receive, send)

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "extensions": {"http.response.early_hint": {}},
    }
    await AssetMiddleware(app, assets=assets)(scope, None, send)  # type: ignore[arg-type]
    url = assets.url("css/base.css").encode()
    assert messages[0] == {
        "type": "http.response.early_hint",
        "links": [b"<%b>; rel=preload; as=style" % url, b"</x>; rel=preconnect"],
    }
    assert messages[1]["type"] == "http.response.start"
    assert url in messages[2]["body"]
    assert (await call_asgi(AssetMiddleware(app, assets=assets), "/")).status == 200  # no such extension
