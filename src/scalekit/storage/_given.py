"""What every way in and out says, at start-up, when it is given something else than a storage."""

from scalekit._options import check_kind
from scalekit.storage._contract import Storage


def check_storage(storage: object) -> None:
    """Refuse a path, a class, and what ``storage.sync()`` makes, which has no asynchronous calls.

    Raises:
        ConfigurationError: it is no storage.
    """
    check_kind(storage, Storage, option="storage", wanted="a storage, such as FileStorage('media'), itself")
