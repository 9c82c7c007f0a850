"""Permissions to talk to S3 directly, so that large files need not pass through the application.

A ticket is signed here and checked by S3. It says what may be uploaded: how many bytes, of which type, under
which key, until when. Nothing else is allowed, and no request reaches the application before or after.

The type is what the browser says, and S3 does not look inside. For a kind such as ``image/*`` it compares how
the type begins: ``image/svg+xml`` passes, and so does ``image/png, text/html``, which browsers run as
a web page when they open the object at S3's own address. An exact type leaves no such room.
"""

from scalekit.storage._s3_tickets import MAX_EXPIRES, PostTicket

__all__ = ["MAX_EXPIRES", "PostTicket"]
