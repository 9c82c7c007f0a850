"""What visitors and onlookers are told when something goes wrong."""

import pytest

from examples.shop import busy
from examples.shop.burst import verdict


def test_what_went_wrong_in_words() -> None:
    """The crowd's summary is for people."""
    none = {"logged out": 0, "basket changed": 0, "order missing": 0}
    assert verdict({"failures": {}, "violations": none}) == ""
    assert (
        verdict(
            {
                "failures": {"500": 1, "503": 2, "TimeoutError": 1, "ConnectionResetError": 1},
                "violations": none | {"logged out": 1, "order missing": 3},
            }
        )
        == "1 page answered with 500, 2 pages answered with 503, 2 pages without an answer, "
        "1 log-in lost, 3 orders missing"
    )


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://shop.test/checkout", "/checkout"),
        ("http://shop.test/plants/ivy?a=1&b=2", "/plants/ivy?a=1&amp;b=2"),
        ('http://shop.test/"><script>', "/&quot;&gt;&lt;script&gt;"),
        ("http://elsewhere.test/checkout", "/"),
        ("http://shop.test//elsewhere.test", "/"),
        ("http://[", "/"),
        ("", "/"),
    ],
)
def test_the_way_back(referer: str, back: str) -> None:
    """The busy page leads a form back to its own page, never out of the shop."""
    headers = [(b"host", b"shop.test"), (b"referer", referer.encode())]
    page = busy.page("POST", headers, arrived=False).decode()
    assert f'<a class="button" href="{back}">' in page
    assert "Nothing was ordered or changed" in page
    assert "http-equiv" not in page


def test_a_form_that_may_have_arrived() -> None:
    """Nobody is told that nothing was ordered when a server may have taken the order."""
    page = busy.page("POST", [(b"host", b"shop.test")], arrived=True).decode()
    assert "we cannot tell" in page
    assert "Nothing was ordered" not in page
