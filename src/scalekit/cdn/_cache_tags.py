"""Tags, by which a CDN purges what was made of the same data: ``Surrogate-Key``, ``Cache-Tag``. Pure.

Rules:

* A template, ``"product:{sku}"``, has names in braces, and what they stand for enters percent-encoded where
  a tag could not hold it. Pages and commits fill them in here, and so spell one tag alike.
* CloudFront takes 256 characters in a tag, takes upper and lower case for the same, and forgets what comes
  after 50 tags.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from scalekit._options import check_items
from scalekit.errors import ConfigurationError

LONGEST = 256

_TAG = re.compile(r"[!-+\--~]+")  # visible, without the comma
_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")
_SAFE = "!#$&'()*+-./:;<=>?@[]^_`|~"


def check_tag(tag: object) -> str:
    """``tag``, if it is one.

    Raises:
        ConfigurationError: it is no text, empty, too long, or has spaces, commas or none of ASCII in it.
    """
    if not isinstance(tag, str) or not _TAG.fullmatch(tag) or len(tag) > LONGEST:
        raise ConfigurationError(
            f"{tag!r:.80} is no tag: text of 1 to {LONGEST} visible ASCII characters without commas"
        )
    return tag


def check_templates(templates: Iterable[str], *, option: str) -> tuple[str, ...]:
    """Tags that may have names in braces.

    Raises:
        ConfigurationError: one would be no tag.
    """
    checked = check_items(templates, option=option)
    for template in checked:
        check_tag(template)
        if set("{}") & set(_PLACE.sub("", template)):
            raise ConfigurationError(f"{option}: {template!r}: braces hold a name, as in 'product:{{sku}}'")
    return checked


def places(template: str) -> set[str]:
    """The names in braces."""
    return set(_PLACE.findall(template))


def spelled(tag: str) -> str:
    """Any text as a tag, as :func:`fill` spells what it fills in."""
    return quote(tag, safe=_SAFE)[:LONGEST]


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The tag for ``values``; one that becomes too long is cut, so that it stands for more than it should."""
    if "{" not in template:
        return template
    return _PLACE.sub(lambda place: quote(str(values[place[1]]), safe=_SAFE), template)[:LONGEST]
