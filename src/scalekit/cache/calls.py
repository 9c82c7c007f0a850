"""From the arguments of a call to its keys and tags, and to what this process has for it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from scalekit.cache._core import Core
from scalekit.cache.compiled import Compiled, can_compile, compile_for
from scalekit.cache.functions import Decorated, is_callers_own
from scalekit.cache.keys import UNWRITABLE, Keys
from scalekit.cache.local import Entry
from scalekit.cache.query import Call
from scalekit.cache.templates import Templates
from scalekit.cache.uses import running


class Calls:
    """Makes the :class:`Call` of what a cached function is called with, and looks for it in this process.

    Args:
        keeps_arguments: whether somebody will ask calls for their arguments by name.
    """

    def __init__(
        self,
        decorated: Decorated,
        *,
        core: Core,
        keys: Keys,
        templates: Templates,
        keeps_arguments: bool = False,
    ) -> None:
        self._keeps_arguments = keeps_arguments
        self._decorated = decorated
        self._core, self._keys, self._templates = core, keys, templates
        self._names = [parameter.name for parameter in keys.parameters]
        # Where a caller's session may be that no key shows.
        self._unasked = [
            place
            for place, parameter in enumerate(keys.parameters)
            if parameter.role in ("caller", "ignored")
        ]
        self.compiled: Compiled | None = None
        self.key: Callable[..., str] = self.question

    def compile(self, get: Callable[[Call], Any]) -> Callable[..., Any] | None:
        """The cached function, if its signature lets it be generated.

        Args:
            get: is asked for the result of a call that this process has none for.
        """
        if can_compile(self._decorated.function, self._keys):
            compiled = self.compiled = compile_for(
                self._decorated.function,
                self._keys,
                is_async=self._decorated.is_async,
                core=self._core,
                running=running,
                of_values=self.of_values,
                get=get,
                question=self.question,
            )
            self.key = compiled.key
        return None if self.compiled is None else self.compiled.cached

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        arguments = self._keys.bind(args, kwargs)
        if self.compiled is not None:
            return self.of_values(*arguments.values())
        return self._spelled(arguments, partial(self._decorated.function, *args, **kwargs))

    def of_values(self, *values: Any) -> Call:
        compiled = self.compiled
        assert compiled is not None
        run = partial(compiled.run, *values)
        try:
            key = compiled.quick(*values)
        except UNWRITABLE:
            key = None
        if key is None or self._templates.fixed is None:
            return self._spelled(dict(zip(self._names, values, strict=True)), run)
        left_out: Sequence[object] = ()
        if self._unasked:
            left_out = [
                value
                for place in self._unasked
                if (value := values[place]) is not None and is_callers_own(type(value))
            ]
        local = compiled.local(*values) if self._core.local.enabled else None
        return Call(
            arguments=dict(zip(self._names, values, strict=True)) if self._keeps_arguments else {},
            key=key,
            local=key if local is None else local,
            tags=self._templates.fixed,
            run=run,
            left_out=left_out,
        )

    def _spelled(self, arguments: dict[str, Any], run: Callable[[], Any]) -> Call:
        key, left_out = self._keys.key(arguments)
        tags = self._templates.fixed
        if tags is None:
            tags = self._templates.of(self._keys.question(arguments)[0])
        local = None if self.compiled is None else self.compiled.local(*arguments.values())
        return Call(
            key=key,
            local=key if local is None else local,
            tags=tags,
            run=run,
            left_out=left_out,
            arguments=arguments,
        )

    def kept(self, call: Call) -> Entry | None:
        """The entry for ``call`` in the first tier, for calls that the generated code does not look for."""
        # What others invalidate reaches the first tier a little later, and the back end at once: an outer
        # result made of what is kept here would be stored as if it were new.
        core = self._core
        if not core.local.enabled or (call.local is not call.key and not core.dirty):
            return None  # the generated code has looked
        return None if running() or core.is_apart(call) else core.local.get(call.local)

    def to_drop(self, *args: Any, **kwargs: Any) -> str:
        """:attr:`key`, with a message of ours if it cannot be called so."""
        try:
            return self.key(*args, **kwargs)
        except TypeError:
            return self.question(*args, **kwargs)

    def question(self, *args: Any, **kwargs: Any) -> str:
        """The key that a question is about, where what does not enter it may be missing."""
        return self._keys.key(self._keys.bind_question(args, kwargs))[0]
