"""``{% load scalekit %}`` and then ``{% asset "logo.png" %}``: the URL of an asset."""

from django import template  # type: ignore[import-untyped]

from scalekit.cdn.django.storage import asset_url

register = template.Library()


@register.simple_tag  # type: ignore[untyped-decorator]
def asset(name: str) -> str:
    """``{% asset "logo.png" %}``, or ``{% asset "logo.png" as logo %}``."""
    return asset_url(name)
