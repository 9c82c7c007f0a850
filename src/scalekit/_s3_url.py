"""Places in S3 by URL: ``s3://media/photos?endpoint_url=https://minio.example.com``.

Options stand after a ``?``. No credentials do: command lines are seen by everyone on the machine, and kept in
histories. They come from the environment, as for every AWS tool.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from scalekit.errors import ConfigurationError

FORM = "s3://bucket or s3://bucket/prefix"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A bucket and what is below a prefix in it.

    Args:
        bucket: its name.
        prefix: empty, or ending with ``/``.
        options: those of the URL, as they stand there.
    """

    bucket: str
    prefix: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse(url: str, *, options: Iterable[str]) -> Place:
    """The place that ``url`` names, which begins with ``s3://``. Nobody is asked yet.

    Args:
        options: the names of those that it may have.

    Raises:
        ConfigurationError: it names none, or has an option that there is not.
    """
    parts = urlsplit(url)
    # The URL itself stays out of every message: it may hold what it must not.
    if "@" in parts.netloc:
        raise ConfigurationError(
            "an s3:// URL has no user and no password; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if not parts.netloc or ":" in parts.netloc or parts.fragment:
        raise ConfigurationError(
            f"an s3:// URL is {FORM}; a server other than Amazon's goes into ?endpoint_url=https://..."
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in given:
        if name not in options:
            raise ConfigurationError(
                f"an s3:// URL has no option {name:.40}; it takes {', '.join(options)}. Credentials come "
                "from AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
    prefix = unquote(parts.path).strip("/")
    return Place(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "", options=given)
