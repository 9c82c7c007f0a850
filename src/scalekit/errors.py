"""Every error scalekit raises on its own account.

::

    ScalekitError
    ├── ConfigurationError (ValueError)       wrong at start-up: an option, a URL, a cookie
    │   ├── WrongColour (TypeError)           a sync client where an async one is wanted, or the reverse
    │   └── MissingExtra (ImportError)        names the pip line that cures it
    ├── BackendError                          a server that a piece depends on
    │   ├── BackendUnavailable (ConnectionError)   cannot be reached, or refused by the breaker
    │   ├── BackendTimeout (TimeoutError)     did not answer in time; the outcome of a write is unknown
    │   │   └── NotReplicated                 too few replicas have it: a failover may undo it
    │   └── DecryptionFailed                  stored data needs a key that is not there, or was changed
    ├── SessionError
    │   ├── SessionTooLarge                   before any I/O; names the key
    │   ├── SessionValueError (TypeError)     a value that cannot be stored as data, or read
    │   └── SessionCommitted                  changed after the response headers left
    ├── DatabaseError
    │   ├── NoServerAvailable                 no member can take this statement
    │   │   └── TooManyFallbackReads          the primary has as many of the replicas' reads as it may have
    │   ├── OutcomeUnknown                    no answer to COMMIT came
    │   └── WriteAfterReplicaReads            what the transaction has read may be older than what it changes
    ├── CacheError
    │   ├── UncacheableArgument (TypeError)   an argument that has no stable key
    │   ├── UncacheableResult (TypeError)     a result that cannot be encoded and read back as it was
    │   └── QueryTimeout (TimeoutError)       the function took longer than its hard time-out
    ├── StorageError
    │   ├── InvalidKey (ValueError)           a key that could escape its prefix
    │   ├── ObjectExists                      a create-only write met an object
    │   ├── ObjectMissing (LookupError)       an object that was to be copied from is not there
    │   ├── UploadRejected                    the client's fault; ``status`` says how to answer
    │   │   ├── FileTooLarge                  413
    │   │   ├── UnsupportedMediaType          415
    │   │   ├── UploadTooSlow                 408; a client that holds a server and sends nothing
    │   │   ├── FileRefused                   422; a scanner found something in it
    │   │   └── MalformedUpload               400
    │   │       ├── ChecksumMismatch          400; the content is not what was promised
    │   │       └── MissingPart (KeyError)    400; a form without what the application asked for
    │   └── UploadFailed                      503; the storage's fault; nothing was stored
    │       └── StorageFull                   507; no room on the disk
    └── AssetError
        ├── AssetNotFound (LookupError)       names the path and where it was looked for
        ├── PushRefused                       the store of the assets did not take them, or will not show them
        └── PurgeRefused                      the CDN will not do it, whoever asks how often

Errors carry their facts as attributes; the message names the value, the limit and the cure. Messages
never contain secrets, tokens, cookies or passwords.
"""

from typing import Literal

from scalekit.types import Colour


class ScalekitError(Exception):
    """The root: ``except ScalekitError`` catches all of ours and nothing else."""


class ConfigurationError(ScalekitError, ValueError):
    """Something is wrong with the set-up; raised at start-up, not during a request."""


class WrongColour(ConfigurationError, TypeError):
    """A synchronous client was handed to asynchronous code, or the reverse; ``what`` it was handed to."""

    def __init__(
        self, *, found: Colour, wanted: Colour, what: str, kind: str = "client", cure: str | None = None
    ) -> None:
        self.found: Colour = found
        self.wanted: Colour = wanted
        self.kind, self.cure = kind, cure
        names = {"sync": "a synchronous", "async": "an asynchronous"}
        message = f"{what} wants {names[wanted]} {kind}, but was given {names[found]} one"
        super().__init__(message if cure is None else f"{message}; {cure}")


class MissingExtra(ConfigurationError, ImportError):
    """A third-party package that this module needs is not installed."""

    def __init__(self, extra: str, *, needed_by: str) -> None:
        self.extra = extra
        super().__init__(
            f"{needed_by} needs an extra: pip install 'scalekit[{extra}]', or from beside a checkout "
            f"'./scalekit[{extra}]'"
        )


class BackendError(ScalekitError):
    """A server that a piece depends on failed. ``backend`` says which, without credentials."""

    def __init__(self, message: str, *, backend: str) -> None:
        self.backend = backend
        super().__init__(message)


class BackendUnavailable(BackendError, ConnectionError):
    """The server cannot be reached, hung up, or is skipped by the circuit breaker."""


class BackendTimeout(BackendError, TimeoutError):
    """The server did not answer in time. A write may or may not have happened."""


class NotReplicated(BackendTimeout):
    """A write happened, and too few replicas said in time that they have it: a failover may undo it.

    Attributes:
        wanted: how many had to have it.
        acknowledged: how many have it for certain.
    """

    def __init__(self, *, backend: str, wanted: int, acknowledged: int) -> None:
        self.wanted, self.acknowledged = wanted, acknowledged
        super().__init__(
            f"{backend}: {acknowledged} of the {wanted} wanted replicas confirmed a write in time; it was "
            "made, and a failover may undo it",
            backend=backend,
        )


class DecryptionFailed(BackendError):
    """What is stored cannot be decrypted. It was left as it is: with the right key it can be read again.

    Attributes:
        why: ``"key"`` (its key is not in the ring, or there is no ring), ``"changed"`` (or copied from
            elsewhere) or ``"plain"`` (it was never encrypted).
    """

    def __init__(self, message: str, *, backend: str, why: Literal["key", "changed", "plain"]) -> None:
        self.why: Literal["key", "changed", "plain"] = why
        super().__init__(message, backend=backend)


class SessionError(ScalekitError):
    """The root of session errors."""


def _shown(key: str) -> str:
    """A key for a message, which may end up in a log: keys may be as long as a session."""
    return repr(key) if len(key) <= 100 else f"{key[:100]!r}..."


class SessionTooLarge(SessionError):
    """A session, or one value of it, is over the store's limit (bytes). Raised before any I/O."""

    def __init__(self, *, key: str, size: int, limit: int, cure: str = "raise max_size") -> None:
        self.key, self.size, self.limit = key, size, limit
        super().__init__(
            f"session key {_shown(key)} brings the session to {size} bytes, over the limit of {limit}; "
            f"keep large values in the database and their id in the session, or {cure}"
        )


class SessionValueError(SessionError, TypeError):
    """A session value that cannot be stored as plain data, or read. Names the key and the type."""

    def __init__(self, *, key: str, reason: str, action: str = "stored") -> None:
        self.key = key
        super().__init__(f"session key {_shown(key)} cannot be {action}: {reason}")


class SessionCommitted(SessionError):
    """The session was changed after the response headers were sent, where no cookie can follow."""


class DatabaseError(ScalekitError):
    """The root of database routing errors."""


class NoServerAvailable(DatabaseError):
    """No member of the cluster can take the statement.

    Of a cluster of one server, which cannot be connected to, it is the error of SQLAlchemy or the driver too.
    """


class TooManyFallbackReads(NoServerAvailable):
    """No replica can take a read, and the primary has as many of theirs as it may have.

    Attributes:
        limit: how many reads of the replicas the primary takes at a time.
        reasons: for each replica, by name, what is wrong with it.
    """

    def __init__(self, *, limit: int, waited: float, reasons: dict[str, str]) -> None:
        self.limit, self.reasons = limit, reasons
        replicas = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(
            f"no replica could take this read, and for {waited:g} s the primary had {limit} of their reads "
            f"already, which leaves the rest of its pool to writes ({replicas}); bring a replica back, or "
            "raise fallback_reads= or pool_size="
        )


class OutcomeUnknown(DatabaseError):
    """No answer to COMMIT came: it may or may not have been applied."""


class WriteAfterReplicaReads(DatabaseError):
    """A transaction that has read from ``replica`` was about to write: ``writes_after_reads="error"``.

    Nothing has been written.
    """

    def __init__(self, replica: str) -> None:
        self.replica = replica
        super().__init__(
            f"this transaction has read from the replica {replica} and is about to write: what it has read "
            "may be older than what it changes. Begin it on the primary, with `with cluster.primary():`, "
            "consistency=STRONG or the write itself, or use writes_after_reads='expire'"
        )


class CacheError(ScalekitError):
    """The root of cache errors."""


class UncacheableArgument(CacheError, TypeError):
    """An argument of a cached function that has no stable, collision-free key."""

    def __init__(self, *, function: str, parameter: str, type_name: str) -> None:
        self.function, self.parameter, self.type_name = function, parameter, type_name
        super().__init__(
            f"{function}({parameter}=...): a {type_name} has no stable cache key; "
            f"pass plain data, or leave it out of the key with ignore=({parameter!r},)"
        )


class UncacheableResult(CacheError, TypeError):
    """A result that cannot be encoded, or would not come back as it was."""


class QueryTimeout(CacheError, TimeoutError):
    """A cached function took longer than its ``hard_timeout``, and there was no stale result to give.

    Attributes:
        function: its name.
        limit: the time-out, in seconds.
    """

    def __init__(self, *, function: str, limit: float) -> None:
        self.function, self.limit = function, limit
        super().__init__(
            f"{function} took longer than hard_timeout={limit:g} seconds, and there is no stale result to "
            "give instead; raise hard_timeout=, or keep results for such times with stale_if_error="
        )


class StorageError(ScalekitError):
    """The root of storage errors."""


class InvalidKey(StorageError, ValueError):
    """An object key that is empty, too long, or could escape its prefix."""

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"invalid object key {key!r:.120}: {reason}")


class ObjectExists(StorageError):
    """A create-only write met an object that is already there."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"an object with key {key!r} exists already; pass overwrite=True to replace it")


class ObjectMissing(StorageError, LookupError):
    """An object that was to be copied from is not there, or not any more as it was."""

    def __init__(self, key: str, *, changed: bool = False) -> None:
        self.key, self.changed = key, changed
        what = "has changed since it was looked at" if changed else "is not there"
        super().__init__(f"the object {key!r}, which was to be copied from, {what}")


class UploadRejected(StorageError):
    """The client's request cannot be accepted; ``status`` is the HTTP status to answer with."""

    status = 400


class FileTooLarge(UploadRejected):
    """More bytes than allowed. ``received`` counts what had arrived when the upload was stopped."""

    status = 413

    def __init__(self, *, limit: int, received: int, what: str = "file") -> None:
        self.limit, self.received = limit, received
        super().__init__(f"{what} is over the limit of {limit} bytes (stopped at {received})")


class UnsupportedMediaType(UploadRejected):
    """The content is not of an accepted type, whatever its header claims."""

    status = 415

    def __init__(self, *, found: str, accepted: tuple[str, ...]) -> None:
        self.found, self.accepted = found, accepted
        super().__init__(f"content type {found!r:.100} is not accepted; accepted: {', '.join(accepted)}")


class MalformedUpload(UploadRejected):
    """The body is not what its headers say: truncated, malformed, or of another length."""


class ChecksumMismatch(MalformedUpload):
    """What arrived does not have the checksum that was promised. Both are written ``algorithm:hex``."""

    def __init__(self, *, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"the content has the checksum {found}, not {expected}; send it again")


class UploadTooSlow(UploadRejected):
    """The client sends nothing any more, or next to nothing. ``limit`` is in seconds."""

    status = 408

    def __init__(self, *, limit: float, received: int) -> None:
        self.limit, self.received = limit, received
        super().__init__(
            f"the client kept us waiting for more than {limit:g} seconds after {received} bytes; "
            "raise idle_timeout= for slower ones"
        )


class FileRefused(UploadRejected):
    """A scanner found something in the file: ``found`` is what it said, for logs, not for the client."""

    status = 422

    def __init__(self, key: str, found: str) -> None:
        self.key, self.found = key, found
        super().__init__("the file was refused by the scanner")


class MissingPart(MalformedUpload, KeyError):
    """A form does not have a field or a file that the application asked for."""

    def __init__(self, name: str, *, kind: str) -> None:
        self.name = name
        super().__init__(f"the form has no {kind} {name!r:.100}")

    __str__ = Exception.__str__  # KeyError's quotes the message


class UploadFailed(StorageError):
    """The storage failed for good; what had been sent was removed again.

    ``status`` is the HTTP status to answer with. The message is for the log: it names folders and servers.
    """

    status = 503


class StorageFull(UploadFailed):
    """There is no room for it: the disk is full, or a quota used up."""

    status = 507


class AssetError(ScalekitError):
    """The root of asset errors."""


class AssetNotFound(AssetError, LookupError):
    """A path that was not there when the folder was read. ``close`` is the most similar one that was.

    ``reload`` says whether files that are new would have been noticed.
    """

    def __init__(self, path: str, *, where: str, close: str | None = None, reload: bool = False) -> None:
        self.path, self.close = path, close
        hint = "check the spelling" if close is None else f"did you mean {close!r}?"
        if not reload:
            hint += " (the folder is read once, at start-up: restart if the file is new)"
        super().__init__(f"no asset {path!r:.200} in {where}; {hint}")


class PushRefused(AssetError):
    """Where assets are pushed to did not do what was asked, or holds what it should not.

    What the site shows has not changed: the pointer to the current release is written last.
    """


class PurgeRefused(AssetError):
    """The CDN refused to purge, and would again: a wrong token, or a service that is not there.

    Attributes:
        status: the HTTP status of its answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(message)
