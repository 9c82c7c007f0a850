"""What services that speak like S3 understand of it, and what is done where they do not.

=====================  ==========  ===========  =====================  ===========
profile                checksum    create-only  create-only, in parts  equal parts
=====================  ==========  ===========  =====================  ===========
:data:`AMAZON`         CRC-32      yes          yes                    no
:data:`COMPATIBLE`     MD5         yes          yes                    no
:data:`MINIO`          MD5         yes          yes                    no
:data:`R2`             MD5         yes          yes                    yes
:data:`CEPH`           MD5         yes          no                     no
:data:`SWIFT`          MD5         no           no                     no
=====================  ==========  ===========  =====================  ===========

Checksums of the S3 client's own making are off everywhere (``when_required``): what does not know them
refuses or, worse, keeps them as part of the content. ``Content-MD5`` is as old as S3, and known everywhere.

Where a create-only write cannot be asked for, it is preceded by a look. Of two servers that write one key in
the same moment both can then succeed, and the later one stays: use keys that nobody else can have, such as
those of :func:`scalekit.storage.keys.random_key`.

A service that takes the condition need not decide it in one step. Of four clients at once that completed
large uploads of one key, SeaweedFS 4.48 let more than one win in 21 of 60 rounds; of small objects in none of
250.

Sources: the providers' own compatibility pages, and for Ceph its test suite; a service that has learned more
since is served by ``dataclasses.replace(CEPH, conditional_completions=True)``.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Profile:
    """What a service understands. ``dataclasses.replace`` makes another one of any of those below.

    Args:
        name: for messages.
        checksum: what goes along with every body, so that damage on the way is refused by the service.
            ``"crc32"`` is of the whole object, too, which the service keeps and :class:`Stored` tells.
        conditional_puts: ``If-None-Match: *`` on PutObject is decided by the service.
        conditional_completions: and on CompleteMultipartUpload.
        equal_parts: all parts of an object but the last have one size.
    """

    name: str
    checksum: Literal["crc32", "md5"] | None = "md5"
    conditional_puts: bool = True
    conditional_completions: bool = True
    equal_parts: bool = False


AMAZON = S3Profile(name="Amazon S3", checksum="crc32")
"""Amazon S3: taken where the endpoint is Amazon's."""

COMPATIBLE = S3Profile(name="an S3-compatible service")
"""Taken where the endpoint is another one."""

MINIO = S3Profile(name="MinIO")
R2 = S3Profile(name="Cloudflare R2", equal_parts=True)
CEPH = S3Profile(name="Ceph Object Gateway", conditional_completions=False)
SWIFT = S3Profile(name="OpenStack Swift", conditional_puts=False, conditional_completions=False)


def profile_for(endpoint: str) -> S3Profile:
    """The profile of a service that was not named, by the host of its endpoint."""
    host = endpoint.partition("://")[2].partition("/")[0].partition(":")[0]
    return AMAZON if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else COMPATIBLE
