"""One upload to S3: a single PUT, or a multipart upload with a few parts in flight.

Rules:

* At most ``concurrency`` parts are being sent and one is being filled; the source is asked for more only
  when there is room, so memory and what is taken from the client stay below (concurrency + 1) parts.
* All uploads of the process together stay within their memory budget; see :mod:`scalekit.storage.budget`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from scalekit.errors import FileTooLarge
from scalekit.storage._s3_digests import digest
from scalekit.storage._s3_multipart import MAX_PARTS, Multipart, Part, multipart
from scalekit.storage._s3_target import Target
from scalekit.storage._shield import settle
from scalekit.storage._source import Body, cut
from scalekit.storage._values import Source, Stored
from scalekit.storage.budget import Account, MemoryBudget
from scalekit.storage.checksums import Checksum

MAX_OBJECT_SIZE = 5 * 1024**4
_MIB = 1024 * 1024

# Up to here a body is joined, and sent as one bytes object. A larger one would be in memory twice by that.
_INLINE = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What is to be uploaded to ``target``."""

    target: Target
    part_size: int
    concurrency: int
    memory: MemoryBudget

    async def run(self, source: Source, size: int | None, checksum: Checksum | None) -> Stored:
        """Store ``source``."""
        part_size = self._part_size_for(size)
        with Account(self.memory, most=part_size if size is None else min(part_size, size)) as account:
            async with aclosing(
                cut(source, part_size, size=size, checksum=checksum, taken=account.take)
            ) as pieces:
                first, more = await anext(pieces)
                if not more:
                    account.send(first.size)
                    try:
                        return await self._single(first)
                    finally:
                        account.give(first.size)
                async with multipart(self.target) as upload:
                    return await upload.complete(await self._send(upload, account, first, pieces))

    def _part_size_for(self, size: int | None) -> int:
        if size is None:
            return self.part_size
        if size > MAX_OBJECT_SIZE:
            raise FileTooLarge(limit=MAX_OBJECT_SIZE, received=0)
        needed = -(-size // MAX_PARTS)
        return max(self.part_size, -(-needed // _MIB) * _MIB)

    async def _single(self, body: Body) -> Stored:
        target, inline = self.target, body.size <= _INLINE
        if not target.profile.conditional_puts:
            await target.check_free()
        digests = await digest(body, target.profile, signed=target.signed)
        put = target.watched(
            body,
            target.client.put_object(
                **target.place,
                **target.description,
                Body=body.join() if inline else body,
                **digests.parameters,
                **target.condition(decided=target.profile.conditional_puts),
            ),
        )
        # Until the last byte is handed out S3 cannot have the object, so stopping is safe; then it may.
        outcome = await settle(put, may_stop=lambda: not inline and body.stop())
        return await target.committed(outcome, body.size, digests.checksum)

    async def _send(
        self, upload: Multipart, account: Account, first: Body, rest: AsyncGenerator[tuple[Body, bool], None]
    ) -> list[Part]:
        slots = asyncio.Semaphore(self.concurrency)
        sending: list[asyncio.Task[Part]] = []
        size = 0

        async def send(number: int, body: Body) -> Part:
            try:
                return await upload.send(number, body)
            finally:
                slots.release()

        try:
            # A part that fails cancels the others and the wait for the source with them.
            async with asyncio.TaskGroup() as group:
                body, more = first, True
                while True:
                    size += body.size
                    if len(sending) == MAX_PARTS:
                        raise FileTooLarge(
                            limit=MAX_PARTS * self.part_size,
                            received=size,
                            what="an upload of unknown length",
                        )
                    await slots.acquire()
                    # Told here, and by a callback: a source that has all at hand lets no task begin, and
                    # a task that is cancelled before it began has no `finally`.
                    account.send(body.size)
                    task = group.create_task(send(len(sending) + 1, body))
                    task.add_done_callback(partial(_given_back, account, body.size))
                    sending.append(task)
                    if not more:
                        break
                    body, more = await anext(rest)
        except BaseExceptionGroup as errors:
            error = _first(errors)
            raise error from error.__cause__
        return [task.result() for task in sending]


def _given_back(account: Account, size: int, _: object) -> None:
    account.give(size)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    # The first is the reason; the rest are the cancellations and failures that followed from it.
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
