"""Amazon's services, and those that speak like them: clients, and what their errors say.

* **Made alike.** Every client has the same time-outs and tries, computes no checksums of its own, and looks
  up what it is not given as every AWS tool does. What is wrong with its settings is told when it is made, in
  the words of those who wrote them, and without what they keep secret.
* **One for each event loop.** ``Clients`` makes it on first use, and closes it whatever happens meanwhile.
* **In our words.** ``translated`` turns what a call to S3 raises into the errors of
  :mod:`scalekit.errors`; the pieces add their cures.

No other package of ours imports botocore's and aiobotocore's ways to make a client.
"""

from scalekit.errors import MissingExtra

try:
    import aiobotocore  # noqa: F401  the check that the extra is there
except ModuleNotFoundError:
    raise MissingExtra("s3", needed_by="what talks to Amazon's services") from None

from botocore.signers import CloudFrontSigner

from scalekit._amazon.errors import (
    CLIENT_ERRORS,
    CONNECTION,
    CREDENTIALS,
    CURES,
    NO_CREDENTIALS,
    TIMEOUTS,
    code_of,
    describe,
    place,
    status_of,
    translated,
)
from scalekit._amazon.making import check_endpoint, client, s3_client, settings, sync_client
from scalekit._amazon.per_loop import Clients

__all__ = [
    "CLIENT_ERRORS",
    "CONNECTION",
    "CREDENTIALS",
    "CURES",
    "NO_CREDENTIALS",
    "TIMEOUTS",
    "Clients",
    "CloudFrontSigner",
    "check_endpoint",
    "client",
    "code_of",
    "describe",
    "place",
    "s3_client",
    "settings",
    "status_of",
    "sync_client",
    "translated",
]
