"""The last step of a direct upload: the application is told."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from scalekit.errors import UnsupportedMediaType, UploadRejected
from scalekit.storage import _direct_parts
from scalekit.storage._callbacks import hand_over
from scalekit.storage._direct_finish import Over, checked, finish
from scalekit.storage._direct_grant import Grant
from scalekit.storage._direct_notes import Notes
from scalekit.storage._s3_target import Target
from scalekit.storage._values import Stored, UploadedFile
from scalekit.storage.s3 import S3Storage


@dataclass(frozen=True, kw_only=True, slots=True)
class DirectUpload(UploadedFile):
    """A file that a browser has sent to S3 in parts.

    Args:
        user: what ``user=`` of :class:`DirectUploads` said of the client.
    """

    user: str | None = None


OnFile = Callable[[DirectUpload], Awaitable[None]]


class Handover:
    """Sees files through: has them made, looks inside, tells the application.

    Args:
        prefix, accept, on_complete: as for :class:`DirectUploads`.
    """

    def __init__(
        self, storage: S3Storage, *, prefix: str, accept: tuple[str, ...], on_complete: OnFile | None
    ) -> None:
        self.storage = storage
        self.accept = accept
        self.on_complete = on_complete
        self._notes = Notes(storage, prefix)

    async def target(self, grant: Grant) -> Target:
        """The write of ``grant``, whichever server began it."""
        return await self.storage.target(grant.key, grant.content_type, grant.filename, mark=grant.id)

    async def complete(
        self, target: Target, grant: Grant, etags: Mapping[int, str], user: str | None
    ) -> DirectUpload:
        """Make the file, unless it is made, and tell, unless it was told.

        Raises:
            UploadRejected: as :func:`finish`, or what the application says.
        """

        async def begin() -> None:
            await self._notes.write(grant, user)

        try:
            stored = await finish(self.storage, target, grant, etags, accept=self.accept, begin=begin)
        except UnsupportedMediaType:
            await self._notes.remove(grant)
            raise
        return await self._tell(grant, stored, user)

    async def sweep(self, before: float) -> int:
        """See the files through that were made ``before``, in seconds since 1970. Returns how many."""
        seen = 0
        async with aclosing(self._notes.before(datetime.fromtimestamp(before, UTC))) as notes:
            async for grant, user in notes:
                target = await self.target(grant)
                try:
                    found = await target.found()
                    stored = await checked(self.storage, target, grant, found, self.accept)
                    await self._tell(grant, stored, user)
                except Over:
                    if await _may_come(target, grant, before):
                        continue  # whoever makes it has written the note anew, and relies on it
                    await self._notes.remove(grant)
                except UploadRejected:  # by its content, or by the application
                    await self._notes.remove(grant)
                seen += 1
        return seen

    async def _tell(self, grant: Grant, stored: Stored, user: str | None) -> DirectUpload:
        file = DirectUpload(
            key=grant.key,
            url=await self.storage.url(grant.key),
            size=stored.size,
            content_type=stored.content_type,
            filename=grant.filename,
            user=user,
        )
        if await self._notes.there(grant):
            if self.on_complete is not None:
                await hand_over(self.on_complete, file, option="on_complete=")
            await self._notes.remove(grant)
        return file


async def _may_come(target: Target, grant: Grant, before: float) -> bool:
    """Whether a file that was not there is, or may still be made: till its upload has ended, or expired."""
    if grant.expires < before:
        return False
    # In this order: an upload that has ended has left the file by then.
    return await _direct_parts.arrived(target, grant) is not None or await target.found() is not None
