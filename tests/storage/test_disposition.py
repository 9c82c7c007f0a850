"""Content-Disposition: one header that every browser reads alike."""

from email.message import Message
from email.utils import collapse_rfc2231_value
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.storage._disposition import content_disposition
from scalekit.storage.keys import clean_filename


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (None, "attachment"),
        ("", "attachment"),
        ("\u202e\n", "attachment"),
        ("report 2026.pdf", 'attachment; filename="report 2026.pdf"'),
        ("it's (1).pdf", 'attachment; filename="it\'s (1).pdf"'),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("größe.pdf", "attachment; filename=\"gr__e.pdf\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.pdf"),
        ('a"; x="b.pdf', "attachment; filename=\"a_; x=_b.pdf\"; filename*=UTF-8''a%22%3B%20x%3D%22b.pdf"),
        ("100%41.pdf", "attachment; filename=\"100_41.pdf\"; filename*=UTF-8''100%2541.pdf"),
        ("a\r\nset: b=1", "attachment; filename=\"aset_ b=1\"; filename*=UTF-8''aset%3A%20b%3D1"),
    ],
)
def test_names(name: str | None, header: str) -> None:
    """22. A plain name is sent once, another one so that old clients understand it too."""
    assert content_disposition("attachment", name) == header


@given(st.text(max_size=300))
def test_any_name(name: str) -> None:
    """22. Whatever the name, the header is one line of ASCII from which the same name is read again."""
    header = content_disposition("inline", name)
    assert header.isascii()
    assert header.isprintable()
    cleaned = clean_filename(name)
    message = Message()
    message["content-disposition"] = header
    found = dict(message.get_params(header="content-disposition")[1:])  # type: ignore[index]
    if "filename*=" in header:
        assert unquote(header.rpartition("filename*=UTF-8''")[2]) == cleaned
    elif cleaned:
        assert collapse_rfc2231_value(found["filename"]) == cleaned
    else:
        assert header == "inline"
