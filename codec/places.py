"""What a walk over a Temporal message hands back: the places that users filled, and the way to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio.api.failure.v1 import Failure

_KEY_CHARS_MAX = 64
"""How much of a map's key a path repeats: a key is as long as its sender likes."""

Where = tuple[Any, str, "int | str | None", Any] | None
"""A way into a message: the way to what is around, the field, the index or map key in it, and the message that has the field."""


class Place:
    """A message (or with `name` one string field of it) that user code filled, and the way to it."""

    __slots__ = ("message", "name", "where")

    def __init__(self, message: Any, where: Where, name: str | None = None) -> None:
        self.message = message
        self.where = where
        self.name = name

    def __repr__(self) -> str:
        return f"Place({self.path})"

    @property
    def path(self) -> str:
        """As ``memo.fields["customer"]`` or ``commands[3].input.payloads[0]``; parentheses stand around packed messages."""
        parts = [_part(name, key) for name, key in self._steps()]
        return ".".join(parts if self.name is None else [*parts, self.name])

    @property
    def field(self) -> str:
        """The path without indices and keys: one of a bounded set of names, fit for counters and logs."""
        parts = [name for name, _ in self._steps()]
        return ".".join(parts if self.name is None else [*parts, self.name])

    def _steps(self) -> list[tuple[str, int | str | None]]:
        steps: list[tuple[str, int | str | None]] = []
        where = self.where
        while where is not None:
            steps.append((where[1], where[2]))
            where = where[0]
        return steps[::-1]


def _part(name: str, key: int | str | None) -> str:
    if key is None:
        return name
    if isinstance(key, str):
        return f'{name}["{key[:_KEY_CHARS_MAX]}"]'
    return f"{name}[{key}]"


class Places:
    """What one walk over one message has found; all messages in it are the message's own parts, to be changed in place.

    `payloads`: every payload, those of failures included.
    `failures`: every Failure, outermost first. One that is the details of a Nexus failure is in `nexus_failures` instead.
    `nexus_failures`: (place of the Nexus failure, the Failure in its details or None).
    `sentences`: the string fields beside failures that user code writes, where they are not empty.
    `opaque`: what holds something that can't be read here (an Any of an unknown type), with the reason: nobody can tell
    what is inside.
    `inner`: the messages that are packed inside others, as they were unpacked.
    """

    __slots__ = ("_packed", "failures", "inner", "nexus_failures", "opaque", "payloads", "sentences")

    def __init__(self) -> None:
        self.payloads: list[Place] = []
        self.failures: list[Place] = []
        self.nexus_failures: list[tuple[Place, Failure | None]] = []
        self.sentences: list[Place] = []
        self.opaque: list[tuple[Place, str]] = []
        self.inner: list[Any] = []
        self._packed: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return bool(self.payloads or self.failures or self.nexus_failures or self.sentences or self.opaque)

    @property
    def has_sentences(self) -> bool:
        """Whether anything of `failures`, `nexus_failures` and `sentences` is there."""
        return bool(self.failures or self.nexus_failures or self.sentences)

    def repack(self) -> None:
        """Write messages that are packed inside others back, once they are changed. To be called once."""
        for write in reversed(self._packed):
            write()
        self._packed.clear()

    def packed(self, write: Callable[[], None], message: Any) -> None:
        """Have `repack` call `write` for a message that was unpacked, after the same of all that is found inside it."""
        self._packed.append(write)
        self.inner.append(message)
