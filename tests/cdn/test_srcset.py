"""The grammar of ``srcset``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.cdn import srcset
from tests.cdn.oracle import candidates


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("", []),
        (" , ,", []),
        ("a.png", ["a.png"]),
        ("a.png 1x, b.png 2x", ["a.png", "b.png"]),
        ("a.png, b.png", ["a.png", "b.png"]),
        ("a.png,b.png 2x", ["a.png,b.png"]),
        ("a.png,,, b.png", ["a.png", "b.png"]),
        ("data:image/png;base64,AA== 1x, b.png 2x", ["data:image/png;base64,AA==", "b.png"]),
        ("a.png calc(1x, 2x), b.png", ["a.png", "b.png"]),
        ("a.png (unclosed, b.png", ["a.png"]),
        ("\n a.png\t100w ,\n b.png 200w\n", ["a.png", "b.png"]),
    ],
)
def test_the_urls_of_a_srcset(value: str, urls: list[str]) -> None:
    """A comma parts candidates only at a URL's end or behind its descriptors."""
    assert [value[start:stop] for start, stop in srcset.urls(value)] == urls


@given(st.text(alphabet="ab ,()\t\n1x:", max_size=40))
def test_it_is_the_standards_algorithm(value: str) -> None:
    """Any text at all gives the URLs that the standard's step-by-step algorithm finds."""
    assert srcset.urls(value) == candidates(value)
