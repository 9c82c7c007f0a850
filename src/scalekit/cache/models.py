"""pydantic models as bytes and back, alone or in lists, dicts, unions and dataclasses: by a TypeAdapter.

Rules:

* They are read back by their validators, as JSON. What these would refuse or change is not stored.
* A field that was not set stays unset (``exclude_unset`` in a response sees no difference), if its default is
  the same again. Where a default is made anew, as a time or an id is, its value is kept and it counts as set.
* Fields have their Python names in the bytes, whatever their aliases.
"""

from collections.abc import Iterator
from typing import Any

import pydantic

from scalekit.cache.untyped import Buffer
from scalekit.errors import ConfigurationError

_OLDEST = (2, 11)  # by_name and by_alias for what is read


class Models:
    """Reads and writes a return type with pydantic models in it.

    Raises:
        ConfigurationError: pydantic cannot read it, or is too old.
    """

    def __init__(self, annotation: Any, *, name: str) -> None:
        if tuple(int(part) for part in pydantic.VERSION.split(".")[:2]) < _OLDEST:
            raise ConfigurationError(
                f"{name} returns pydantic models, and pydantic is {pydantic.VERSION}; "
                "pip install 'pydantic>=2.11'"
            )
        try:
            self._adapter = pydantic.TypeAdapter(annotation)
        except (pydantic.PydanticUserError, NameError) as error:
            raise ConfigurationError(f"{name}: its return type cannot be read back ({error})") from None

    def write(self, result: Any) -> Iterator[bytes]:
        for exclude_unset in (True, False):
            yield self._adapter.dump_json(
                result, exclude_unset=exclude_unset, by_alias=False, round_trip=True, warnings="error"
            )

    def read(self, payload: Buffer) -> Any:
        return self._adapter.validate_json(bytes(payload), by_name=True, by_alias=False)
