"""Where assets are pushed to, by URL: ``s3://shop-assets/static``; see :mod:`scalekit._s3_url`.

The options are ``endpoint_url``, for a server other than Amazon's, and ``region_name``.
"""

from urllib.parse import urlsplit

from scalekit import _s3_url
from scalekit._s3_url import FORM, Place
from scalekit.errors import ConfigurationError


def parse(url: str) -> Place:
    """The place that ``url`` names. Nobody is asked yet.

    Raises:
        ConfigurationError: it names none, or has an option that there is not.
    """
    # The URL itself stays out of every message: it may hold what it must not.
    if urlsplit(url).scheme != "s3":
        raise ConfigurationError(f"assets are pushed to S3, and what speaks like it: write {FORM}")
    place = _s3_url.parse(url, options=("endpoint_url", "region_name"))
    if not place.options.get("endpoint_url", "https://").startswith(("http://", "https://")):
        raise ConfigurationError("endpoint_url= begins with http:// or https://")
    prefix = place.prefix.rstrip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ConfigurationError(
            f"the prefix {prefix!r:.100} has an empty part, '.' or '..', which no URL keeps"
        )
    return place
