"""Assets from a CDN, for an application that was not written for one.

:class:`Assets` knows the files of a folder and gives each a URL with its content's hash. The middleware in
:mod:`scalekit.cdn.asgi` and :mod:`scalekit.cdn.wsgi` serves them under those URLs, cacheable for ever, and
points the pages of an unchanged application at them.
"""

from scalekit.cdn.assets import Asset, Assets
from scalekit.cdn.html import HtmlRewriter

__all__ = ["Asset", "Assets", "HtmlRewriter"]
