"""Where assets are pushed to, by URL: ``s3://shop-assets/static``.

An option stands after a ``?``: ``endpoint_url`` for a server other than Amazon's, ``region_name``. No
credentials do: command lines are seen by everyone on the machine, and kept in histories. They come from the
environment, as for every AWS tool.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from scalekit.errors import ConfigurationError

_OPTIONS = ("endpoint_url", "region_name")
_FORM = "s3://bucket or s3://bucket/prefix"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A bucket and what is below a prefix in it.

    Args:
        bucket: its name.
        prefix: empty, or ending with ``/``.
        options: for the client: ``endpoint_url``, ``region_name``.
    """

    bucket: str
    prefix: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse(url: str) -> Place:
    """The place that ``url`` names. Nobody is asked yet.

    Raises:
        ConfigurationError: it names none, or has an option that there is not.
    """
    parts = urlsplit(url)
    # The URL itself stays out of every message: it may hold what it must not.
    if parts.scheme != "s3":
        raise ConfigurationError(f"assets are pushed to S3, and what speaks like it: write {_FORM}")
    if "@" in parts.netloc:
        raise ConfigurationError(
            "an s3:// URL has no user and no password; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if not parts.netloc or ":" in parts.netloc or parts.fragment:
        raise ConfigurationError(
            f"an s3:// URL is {_FORM}; a server other than Amazon's goes into ?endpoint_url=https://..."
        )
    options = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"an s3:// URL has no option {name:.40}; it takes {', '.join(_OPTIONS)}. Credentials come "
                "from AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        options[name] = value
    if not options.get("endpoint_url", "https://").startswith(("http://", "https://")):
        raise ConfigurationError("endpoint_url= begins with http:// or https://")
    prefix = unquote(parts.path).strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ConfigurationError(
            f"the prefix {prefix!r:.100} has an empty part, '.' or '..', which no URL keeps"
        )
    return Place(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "", options=options)
