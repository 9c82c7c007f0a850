"""Assets from a CDN, for an application that was not written for one.

:class:`Assets` knows the files of a folder and gives each a URL with its content's hash. The middleware in
:mod:`scalekit.cdn.asgi` and :mod:`scalekit.cdn.wsgi` serves them under those URLs, cacheable for ever, and
points the pages of an unchanged application at them.

:class:`CachePolicy` says which pages a CDN may keep, and :class:`Shield` keeps all but the CDN away from
the application.
"""

from scalekit.cdn._asset import Asset, AssetFile
from scalekit.cdn._policies import PolicyOptions
from scalekit.cdn.assets import Assets
from scalekit.cdn.html import HtmlRewriter
from scalekit.cdn.manifest import Entry, Manifest
from scalekit.cdn.policy import CachePolicy, add_tags
from scalekit.cdn.probe import CdnProbe
from scalekit.cdn.shield import Shield

__all__ = [
    "Asset",
    "AssetFile",
    "Assets",
    "CachePolicy",
    "CdnProbe",
    "Entry",
    "HtmlRewriter",
    "Manifest",
    "PolicyOptions",
    "Shield",
    "add_tags",
]
