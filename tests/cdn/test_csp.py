"""Content security policies, extended by the CDN for those who ask."""

from pathlib import Path

import pytest

from scalekit.cdn import Assets
from scalekit.cdn._csp import Extension
from tests.cdn.drivers import Response, Shell

CDN = "https://cdn.example.net/static/"
ON = {"extend_csp": True}


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn="https://cdn.example.net")


@pytest.mark.parametrize(
    ("policy", "want"),
    [
        ("img-src 'self'", "img-src 'self' @"),
        ("img-src 'self' data:; connect-src 'self'", "img-src 'self' data: @; connect-src 'self'"),
        ("IMG-SRC 'Self' ;font-src 'self';", "IMG-SRC 'Self' @;font-src 'self' @;"),
        ("media-src shop.example", "media-src shop.example @"),
        ("media-src https://shop.example:8443/static/", "media-src https://shop.example:8443/static/ @"),
        ("style-src *.example", "style-src *.example @"),
        # The more special directive decides; the other is for browsers that do not know it.
        (
            "script-src 'self'; script-src-elem 'self' 'nonce-x'",
            "script-src 'self' @; script-src-elem 'self' 'nonce-x' @",
        ),
        ("style-src-elem 'self'; default-src 'none'", "style-src-elem 'self' @; default-src 'none'"),
        # A default is copied: connections and frames get nothing.
        (
            "default-src 'self' 'nonce-x'; style-src 'none'; img-src data: 'self'; frame-ancestors 'self';",
            "default-src 'self' 'nonce-x'; style-src 'none'; img-src data: 'self' @; frame-ancestors 'self'; "
            "script-src 'self' 'nonce-x' @; font-src 'self' 'nonce-x' @; media-src 'self' 'nonce-x' @; "
            "object-src 'self' 'nonce-x' @",
        ),
        # Of two directives of a name the first counts, and each policy of a header for itself.
        ("img-src 'self'; img-src 'self'", "img-src 'self' @; img-src 'self'"),
        ("img-src 'self', font-src 'self'", "img-src 'self' @, font-src 'self' @"),
        # What has not let in the application's own files does not let in the CDN's.
        *[
            (policy, policy)
            for policy in (
                "img-src 'none'",
                "img-src",
                "default-src 'none'",
                "script-src 'nonce-x' 'strict-dynamic'",
                "script-src 'sha256-x'",
                "img-src https://other.example data:",
                "img-src https://shop.example/other/",
                "img-src https://shop.example/Static/",
                "connect-src 'self'",
                "upgrade-insecure-requests",
                "",
                ";",
                # And what lets it in already stays.
                "img-src 'self' *",
                "img-src 'self' https:",
                "img-src 'self' https://cdn.example.net",
                "img-src 'self' CDN.example.net",
                f"img-src 'self' {CDN}",
            )
        ],
    ],
)
@pytest.mark.parametrize("header", ["content-security-policy", "content-security-policy-report-only"])
def test_policies(assets: Assets, shell: Shell, policy: str, want: str, header: str) -> None:
    """The CDN may be loaded from where the page's own host may, and in no other directive."""
    sent = Response([b""], {"content-type": "text/html", header: policy})
    reply = shell.page(assets, sent, options=ON, headers={"host": "Shop.Example:443"})
    assert reply.headers[header] == want.replace("@", CDN)


def test_several_headers() -> None:
    """Browsers apply all policies, so each is extended; other headers stay."""
    extension = Extension(cdn=b"//cdn.example.net/shop", path=b"/static/", host=None)
    headers = [
        (b"content-security-policy", b"img-src 'self'"),
        (b"x", b"img-src 'self'"),
        (b"content-security-policy", b"img-src 'self' data:"),
    ]
    extension.apply(headers)
    assert headers == [
        (b"content-security-policy", b"img-src 'self' cdn.example.net/shop/static/"),
        (b"x", b"img-src 'self'"),
        (b"content-security-policy", b"img-src 'self' data: cdn.example.net/shop/static/"),
    ]


def test_policies_stay_where_nothing_comes_from_a_cdn(assets: Assets, shell: Shell) -> None:
    """Not without the option, without a CDN, or for what is no page; but for a page that has not changed."""
    policy = "img-src 'self'"
    page = {"content-type": "text/html", "content-security-policy": policy, "etag": '"x"'}
    for view, headers, options in (
        (assets, page, {}),
        (assets.at(None), page, ON),
        (assets, {**page, "content-type": "image/svg+xml"}, ON),
        (assets, {**page, "cache-control": "no-transform"}, ON),
    ):
        reply = shell.page(view, Response([b""], dict(headers)), options=options)
        assert reply.headers["content-security-policy"] == policy
    tag = shell.page(assets, Response([b""], dict(page)), options=ON).headers["etag"]
    again = Response([b""], {"content-security-policy": policy, "etag": '"x"'}, status=304)
    reply = shell.page(assets, again, options=ON, headers={"if-none-match": tag})
    assert again.seen["if-none-match"] == '"x"'
    assert reply.headers == {"content-security-policy": f"{policy} {CDN}", "etag": tag}
