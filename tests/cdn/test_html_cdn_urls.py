"""URLs that name a CDN of the assets already, as templates write them by ``assets.url``."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.cdn import Assets, CdnProbe, HtmlRewriter
from scalekit.cdn.asgi import AssetMiddleware
from tests.cdn.drivers import Response, Shell, asgi_app
from tests.servers.waiting import wait_until

CDN, OTHER = "https://cdn.example.net", "https://eu.example.com/shop"
OPTIONS = [
    {},
    {"integrity": True},
    {"crossorigin": True},
    {"modules": True},
    {"integrity": True, "crossorigin": True, "modules": True},
]

# "@" before a path is where the CDN's address may stand: all of these move, to a CDN and without one.
MOVING = [
    '<img src="@/static/logo.png">',
    "<img src='@/static/logo.png' crossorigin style='a:url(@/static/logo.png)'>",
    "<IMG SRC=@/static/logo.png?x#y><img src='https:\\\\cdn.example.net\\static\\logo.png'>",
    '<img alt="static" src="@/static/css/../logo.png">',
    '<img src="@/static/img/a&amp;b.png?a&amp;b">',
    "<img src=\"&#104;ttps://x.example/static/logo.png\"><img src=' @/static/lo\ngo.png'>",
    '<img srcset="@/static/hero.webp 1x, data:,static, @/static/hero@2x.webp 2x" src="@/static/logo.png">',
    "<picture><source srcset='@/static/hero.webp'></picture>",
    "<video poster=@/static/logo.png src=@/static/movie.mp4></video>",
    "<input type=image src=@/static/logo.png>",
    "<link rel=stylesheet href='@/static/css/site.css'>",
    "<link rel='shortcut icon' href=@/static/logo.png>",
    "<link rel=preload as=image imagesrcset='@/static/hero.webp 1x' href=@/static/hero.webp>",
    "<link rel=preload as=script href=@/static/app.js>",
    "<script src=@/static/app.js></script>",
    "<script src=@/static/app.js integrity=x crossorigin></script>",
    "<script src=@/static/app.js async crossorigin></script>",
    "<embed src=@/static/movie.mp4><object data=@/static/logo.png></object>",
    "<style>@import '@/static/css/base.css'; a{b:url(@/static/logo.png)}</style>",
    "<p style=\"a:url('@/static/logo.png')\">",
    "<svg><image href=@/static/logo.png /><feImage xlink:href='@/static/logo.png'/></svg>",
    "<noscript><img src=@/static/logo.png></noscript><template><img src=@/static/logo.png></template>",
]
# These as well, where the page has no CDN.
COMING_BACK = [
    "<svg><use href='@/static/icons.svg#x'/></svg>",
    "<video><track src=@/static/logo.png></video>",
    "<object data=@/static/icons.svg></object><embed src=@/static/icons.svg>",
    "<p style='filter:url(@/static/icons.svg#x)'>",
    "<script type=module src=@/static/app.js></script>",
    "<link rel=modulepreload href=@/static/app.js>",
    "<link rel=stylesheet href=@/static/css/site.css integrity=x crossorigin>",
    "<img src=@/static/logo.png crossorigin=use-credentials>",
    '<script type=importmap>{"imports": {"app": "@/static/app.js"},'
    ' "scopes": {"@/static/": {"x": "@/static/app.js"}},'
    ' "integrity": {"@/static/app.js": "x"}}</script>',
]
# And these are the same either way.
AROUND = [
    "<p>", "text static ", "<a href=/static/logo.png>", "</a>", "<!-- static -->",
    "<title>static</title>", '<img alt="a > b">', "<textarea><img src=/static/logo.png></textarea>",
    "<body>", "<img src=static/logo.png>",
]  # fmt: skip


def rewritten(assets: Assets, page: str, **options: Any) -> bytes:
    """In one piece; byte by byte must give the same."""
    source = page.encode()
    whole = HtmlRewriter(assets, **options)
    result = whole.rewrite(source)
    pieces = HtmlRewriter(assets, **options)
    assert b"".join(pieces.feed(source[at : at + 1]) for at in range(len(source))) + pieces.close() == result
    assert whole.count == pieces.count
    return result


def pages(*fragments: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(fragments), min_size=1, max_size=12).map("".join)


@pytest.fixture(scope="module")
def known(folder: Path) -> Assets:
    """Assets that were pointed at a CDN, and then at another."""
    assets = Assets(folder, cdn=CDN)
    assets.at(OTHER)
    return assets


@given(
    page=pages(*MOVING, *AROUND),
    written=st.sampled_from([CDN, OTHER, CDN[6:], "HTTPS://CDN.example.net:443"]),
    to=st.sampled_from([CDN, OTHER, None]),
    options=st.sampled_from(OPTIONS),
)
def test_a_page_is_the_same_however_its_urls_are_written(
    known: Assets, page: str, written: str, to: str | None, options: dict[str, Any]
) -> None:
    """With the CDN's URLs, another CDN's or paths, plain or hashed: the page comes out the same."""
    want = rewritten(known.at(to), page.replace("@/", "/"), **options)
    assert rewritten(known.at(to), page.replace("@/", f"{written}/"), **options) == want
    hashed = page.replace("@/static/logo.png", written + known.path("logo.png")).replace("@/", f"{written}/")
    assert rewritten(known.at(to), hashed, **options) == want


@given(page=pages(*COMING_BACK, *MOVING, *AROUND), options=st.sampled_from(OPTIONS))
def test_a_page_without_a_cdn_names_none(known: Assets, page: str, options: dict[str, Any]) -> None:
    """What the browser would fetch from a CDN it fetches from the application, as if paths stood there."""
    want = rewritten(known.at(None), page.replace("@/", "/"), **options)
    assert rewritten(known.at(None), page.replace("@/", f"{CDN}/"), **options) == want
    assert b"cdn.example.net" not in want


@pytest.mark.parametrize("tag", COMING_BACK)
def test_what_would_stay_under_its_path_stays_as_it_is_written(known: Assets, tag: str) -> None:
    """Where a path would not be pointed at the CDN, a URL at one is not pointed at another."""
    page = tag.replace("@/", f"{CDN}/")
    for view in (known, known.at(OTHER)):
        assert rewritten(view, page) == page.encode()


def test_integrity_holds_for_a_hashed_name(known: Assets) -> None:
    """A style sheet has other bytes under its hashed name, of which the template has said the hash."""
    asset = known.get("css/site.css")
    assert asset is not None
    tag = f"<link rel=stylesheet href={{}} integrity={asset.integrity} crossorigin>"
    written = tag.format(known.url("css/site.css"))
    assert rewritten(known.at(OTHER), written).decode() == tag.format(known.at(OTHER).url("css/site.css"))
    assert rewritten(known.at(None), written).decode() == tag.format(known.path("css/site.css"))
    plain = tag.format("/static/css/site.css")
    assert rewritten(known, plain).decode() == plain


def test_modules_move_with_all_that_names_them(tmp_path: Path) -> None:
    """From one CDN to another: scripts, what is loaded ahead, import maps with their scopes and hashes."""
    (tmp_path / "js").mkdir()
    (tmp_path / "js/cart.js").write_text("export const cart = 1")
    (tmp_path / "js/app.js").write_text("import './cart.js'")
    assets = Assets(tmp_path, cdn=CDN)
    other = assets.at(OTHER)

    def page(view: Assets) -> str:
        cart, app = view.url("js/cart.js"), view.url("js/app.js")
        found = assets.get("js/app.js")
        assert found is not None
        folder = f"{view.cdn or ''}/static/js/"
        text = {
            "imports": {"cart": cart},
            "scopes": {folder: {"x": cart}},
            "integrity": {app: found.integrity},
        }
        tags = f"<link rel=modulepreload href={cart}><script type=module src='{app}'></script>"
        return f"<script type=importmap>{json.dumps(text)}</script>{tags}"

    assert rewritten(other, page(assets), modules=True).decode() == page(other)
    assert rewritten(other, page(assets)).decode() == page(assets)
    for options in ({}, {"modules": True}):
        assert rewritten(assets.at(None), page(other), **options).decode() == page(assets.at(None))


@pytest.mark.parametrize(
    "url",
    [
        "https://else.example.net/static/logo.png",
        "https://cdn.example.net.evil.example/static/logo.png",
        "https://xcdn.example.net/static/logo.png",
        "https://cdn.example.net:8443/static/logo.png",
        "https://cdn.example.net:80/static/logo.png",
        "http://cdn.example.net:443/static/logo.png",
        "http://cdn.example.net/static/logo.png",
        "ftp://cdn.example.net/static/logo.png",
        "https://user@cdn.example.net/static/logo.png",
        "https://cdn.example.net/static/gone.png",
        "https://cdn.example.net/static/",
        "https://cdn.example.net/static",
        "https://cdn.example.net/uploads/static/logo.png",
        "https://cdn.example.net/static/../uploads/logo.png",
        "https://cdn.example.net/staticlogo.png",
        "https://eu.example.com/static/logo.png",
        "https://eu.example.com/shopping/static/logo.png",
        "https://eu.example.com/shop/../static/logo.png",
        "https://eu.example.com/static/shop/logo.png",
        "/shop/static/logo.png",
        "//else.example.net/https://cdn.example.net/static/logo.png",
        "https:cdn.example.net/static/logo.png",
    ],
)
@pytest.mark.parametrize("to", [CDN, OTHER, None])
def test_strangers_stay(known: Assets, url: str, to: str | None) -> None:
    """Other hosts, other ports and schemes, and what is no asset on the CDN's own host."""
    page = (
        f"<img src=\"{url}\"><link rel=stylesheet href='{url}'><p style='a:url({url})'>"
        f"<img srcset='{url} 1x'><style>a{{b:url({url})}}</style>"
        f'<script type=importmap>{{"imports": {{"x": "{url}"}}}}</script>'
    )
    assert rewritten(known.at(to), page, integrity=True) == page.encode()


def test_links_stay(known: Assets) -> None:
    """A link leads where it says, to a CDN that is down as well: nobody fetches it for the page."""
    page = (
        f"<a href='{CDN}/static/logo.png'></a><link rel=canonical href={CDN}/static/logo.png>"
        f"<form action={CDN}/static/logo.png><iframe src={CDN}/static/icons.svg></iframe>"
        f"<script>load('{CDN}/static/logo.png')</script><base href={CDN}/static/><img src=logo.png>"
    )
    for view in (known, known.at(OTHER), known.at(None)):
        assert rewritten(view, page) == page.encode()


def test_the_image_of_a_preview_stays_absolute(known: Assets) -> None:
    """It goes to the page's own CDN; a page without one leaves it where a visitor's client finds it later."""
    tag = "<meta property=og:image content={}>"
    page = tag.format(known.url("logo.png"))
    assert rewritten(known.at(OTHER), page).decode() == tag.format(known.at(OTHER).url("logo.png"))
    assert rewritten(known.at(None), page).decode() == page
    assert rewritten(known.at("//cdn.example.org"), page).decode() == page


def test_an_address_without_a_scheme(folder: Path) -> None:
    """Either scheme will do."""
    assets = Assets(folder, cdn="//cdn.example.net")
    for scheme in ("", "http:", "https:", "HTTPS:"):
        page = (
            f'<img src="{scheme}//cdn.example.net/static/logo.png"><embed src={scheme}{assets.cdn}/static/x>'
        )
        assert rewritten(assets.at(None), page).decode() == page.replace(
            f"{scheme}//cdn.example.net/static/logo.png", assets.path("logo.png")
        )


def test_a_cdn_below_the_pages_own_host(folder: Path) -> None:
    """One that is a path of the same host, and assets that are right at the top of their host."""
    assets = Assets(folder, url="/", cdn="https://shop.example/cdn")
    page = f"<img src={assets.url('logo.png')}><img src=https://shop.example/logo.png><img src=/cdn/logo.png>"
    path = assets.path("logo.png")
    for directory in ("/", "/shop/", "/cdn/"):
        assert HtmlRewriter(assets.at(None), path=directory, host="shop.example").rewrite(
            page.encode()
        ).decode() == (f"<img src={path}><img src={path}><img src=/cdn/logo.png>")


def test_which_cdns_are_known(folder: Path) -> None:
    """That of the assets always, and the 64 that were pointed at last; by every view of them."""
    assets = Assets(folder, cdn=CDN)
    views = [assets.at(f"https://c{number}.example") for number in range(65)]
    gone, last = views[0].url("logo.png"), views[64].url("logo.png")
    page = f'<img src="{gone}"><img src="{last}"><img src="{assets.url("logo.png")}">'
    path = assets.path("logo.png")
    for view in (assets.at(None), views[3].at(None)):
        assert rewritten(view, page).decode() == (f'<img src="{gone}"><img src="{path}"><img src="{path}">')


def test_a_cdn_that_is_watched_is_always_known(folder: Path) -> None:
    """However many others assets are pointed at, pages can do without it."""
    assets = Assets(folder, cdn=CDN)
    AssetMiddleware(asgi_app(Response([b""])), assets=assets, probe=CdnProbe(assets.at(OTHER)))
    page = f"<img src={assets.at(OTHER).url('logo.png')}>"
    for number in range(65):
        assets.at(f"https://c{number}.example")
    assert rewritten(assets.at(None), page).decode() == f"<img src={assets.path('logo.png')}>"


PAGE = '<script src="{}"></script><link rel=stylesheet href={}><img src="{}">'


def template(assets: Assets) -> Response:
    """A page whose template has asked for URLs."""
    page = PAGE.format(*map(assets.url, ("app.js", "css/site.css", "logo.png")))
    link = f"<{assets.url('app.js')}>; rel=preload; as=script"
    return Response([page.encode()], {"content-type": "text/html", "link": link, "etag": '"x"'})


@pytest.mark.parametrize("options", [{}, {"integrity": True}, {"crossorigin": True}], ids=str)
@pytest.mark.parametrize("chosen", [CDN, OTHER, None])
def test_templates_that_name_the_cdn(
    folder: Path, shell: Shell, options: dict[str, Any], chosen: str | None
) -> None:
    """Page and headers are those that paths would have led to, at whatever CDN this request is given."""
    assets = Assets(folder, cdn=CDN)
    every = {**options, "cdn": lambda request: chosen}
    want = shell.page(assets, template(assets.at(None)), options=every)
    reply = shell.page(assets, template(assets), options=every)
    assert (reply.body, reply.headers) == (want.body, want.headers)
    assert assets.at(chosen).url("app.js") in reply.body.decode()
    assert (b" integrity=" in reply.body) is bool(options.get("integrity"))
    assert (b" crossorigin=" in reply.body) is bool(options and chosen)
    assert ("integrity=" in reply.headers["link"]) is bool(options.get("integrity"))
    assert ("cdn.example.net" in str(reply.headers) + reply.body.decode()) is (chosen == CDN)


def test_templates_while_the_cdn_is_down(folder: Path, shell: Shell) -> None:
    """Not one URL that names it gets out, under another entity tag; and when it is back they all do."""
    assets = Assets(folder, cdn=CDN)
    down = False

    def fetch(url: str, *, timeout: float) -> tuple[int, str]:
        if down:
            raise ConnectionRefusedError("as told")
        return 200, "image/webp"

    probe = CdnProbe(assets, interval=0.05, timeout=0.01, fetch=fetch, clock=lambda: 0.0)
    try:
        options = {"probe": probe, "extend_csp": True}

        def reply() -> tuple[str, dict[str, str]]:
            sent = template(assets)
            sent.headers["content-security-policy"] = f"img-src {CDN}/static/; style-src 'self' {CDN}"
            answer = shell.page(assets, sent, options=options, headers={"host": "Shop.example:8080"})
            return answer.body.decode(), answer.headers

        page, headers = reply()
        assert page == template(assets).chunks[0].decode()
        down = True
        wait_until(lambda: not probe.up, what="the outage")
        gone, others = reply()
        assert gone == PAGE.format(*map(assets.path, ("app.js", "css/site.css", "logo.png")))
        assert others["link"] == f"<{assets.path('app.js')}>; rel=preload; as=script"
        assert others["etag"] != headers["etag"]
        assert others["content-security-policy"] == (
            f"img-src {CDN}/static/ shop.example:8080/static/; style-src 'self' {CDN}"
        )
        down = False
        wait_until(lambda: probe.up, what="the return")
        assert reply() == (page, headers)
    finally:
        probe.close()


async def test_early_hints(folder: Path) -> None:
    """What is loaded ahead of the page is what the page will ask for."""
    assets = Assets(folder, cdn=CDN)
    hint = f"<{assets.url('app.js')}>; rel=preload; as=script"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [hint.encode()]})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await AssetMiddleware(app, assets=assets, cdn=lambda scope: None)(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["links"] == [hint.replace(CDN, "").encode()]


POLICIES = [
    # And whether it is extended on a page at the other CDN, and on one without.
    (f"img-src {CDN}", True, True),
    (f"img-src {CDN}/static/", True, True),
    ("font-src cdn.example.net", True, True),
    ("img-src *.example.net", True, True),
    (f"img-src {CDN} 'self'", True, False),
    (f"img-src {CDN} shop.example", True, False),
    (f"img-src {CDN} https://eu.example.com", False, True),
    (f"img-src {CDN} *", False, False),
    (f"img-src {CDN}/uploads/", False, False),
    (f"img-src {CDN}/Static/", False, False),
    ("img-src HTTPS://CDN.example.net/static/", True, True),
    ("img-src https://cdn.example.net:8443", False, False),
    (f"connect-src {CDN}", False, False),
]


@pytest.mark.parametrize(("policy", "other", "none"), POLICIES)
def test_policies_follow(folder: Path, shell: Shell, policy: str, other: bool, none: bool) -> None:
    """Where a policy lets in the assets at one CDN, it does so where this page has them; no more."""
    assets = Assets(folder, cdn=CDN)
    for chosen, added in (
        (CDN, ""),
        (OTHER, f" {OTHER}/static/" * other),
        (None, " shop.example/static/" * none),
    ):
        sent = Response([b""], {"content-type": "text/html", "content-security-policy": policy})
        options = {"extend_csp": True, "cdn": lambda request, chosen=chosen: chosen}
        reply = shell.page(assets, sent, options=options, headers={"host": "shop.example"})
        assert reply.headers["content-security-policy"] == policy + added


@pytest.mark.parametrize("host", [None, "[::1]:8000", "shop.example; script-src *", "a, b"])
def test_a_host_that_fits_no_policy(folder: Path, shell: Shell, host: str | None) -> None:
    """Then the page's own host is ``'self'``: nothing that a client has said gets into a policy unread."""
    assets = Assets(folder, cdn=CDN)
    sent = Response([b""], {"content-type": "text/html", "content-security-policy": f"img-src {CDN}"})
    options = {"extend_csp": True, "cdn": lambda request: None}
    reply = shell.page(assets, sent, options=options, headers={} if host is None else {"host": host})
    assert reply.headers["content-security-policy"] == f"img-src {CDN} 'self'"


def test_paths(known: Assets) -> None:
    """``path`` is the URL without the CDN, whichever the assets are at; an unknown name is an error."""
    assert known.path("img/a&b.png") == known.at(None).url("img/a&b.png")
    assert (
        known.at(OTHER).path("logo.png") == known.at(None).path("logo.png") == known.at(None).url("logo.png")
    )
    with pytest.raises(LookupError, match=r"did you mean 'logo\.png'"):
        known.path("lgoo.png")


def test_assets_that_are_read_again(folder: Path) -> None:
    """With ``reload`` the same holds, before and after files were read anew."""
    assets = Assets(folder, cdn=CDN, reload=True)
    page = f"<img src={assets.url('logo.png')}><img src={assets.at(OTHER).url('logo.png')}>"
    path = assets.path("logo.png")
    assert rewritten(assets.at(None), page).decode() == f"<img src={path}><img src={path}>"
    assert rewritten(assets, page).decode() == f"<img src={CDN}{path}><img src={CDN}{path}>"
