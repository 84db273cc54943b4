"""How many bytes the payloads of one decode may become, in all: a bound for each payload alone lets many small bombs through.

What counts is what a few bytes from the service can ask for: decompressed content, and objects that references name. Both
are taken from the bound before memory is asked for.

Whoever decodes a message as a whole (the proxy) opens one bound around it with `one_message`; codecs and drivers beneath find
it there, over any number of calls. It travels in a context variable, as the SDK's interfaces of codecs and drivers have
no room for it. Without one, each call of a codec or a driver has a bound of its own, which is all that the SDK shows of a
message in a worker: one field of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from codec.errors import DecodeBoundReached

DECODE_BYTES_MAX = 256 * 1024 * 1024
"""Twice what SDKs take in one message (128 MiB), since what is offloaded and compressed counts in both forms."""


class DecodeBound:
    """What is left for one decode, in bytes. For one event loop's thread."""

    __slots__ = ("_bytes_max", "left")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.left = bytes_max

    def take(self, size: int) -> None:
        """Ask for `size` bytes.

        Raises:
            DecodeBoundReached: so much is not left; then nothing is taken.
        """
        if size > self.left:
            raise DecodeBoundReached(self._bytes_max)
        self.left -= size


_MESSAGE: ContextVar[DecodeBound | None] = ContextVar("tacit_decode_bound", default=None)


@contextlib.contextmanager
def one_message(bytes_max: int) -> Iterator[None]:
    """Have all that is decoded inside share one bound; the outermost counts."""
    if _MESSAGE.get() is not None:
        yield
        return
    token = _MESSAGE.set(DecodeBound(bytes_max))
    try:
        yield
    finally:
        _MESSAGE.reset(token)


def decode_bound(bytes_max: int) -> DecodeBound:
    """The message's bound where one is open, else a new one of `bytes_max`."""
    return _MESSAGE.get() or DecodeBound(bytes_max)
