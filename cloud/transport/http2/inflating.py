"""Unpacking of compressed messages: a few threads of its own, no more waiting than it can do soon, and no byte above the limit."""

from __future__ import annotations

import asyncio
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

from cloud.rpc import InvalidArgument, ResourceExhausted
from cloud.transport.bounds import MESSAGE_BYTES_MAX, unpacked_message_too_large

THREADS = 2
WAITING_MAX = 32
STRANGERS_MAX = 4
"""Messages that are unpacked or wait for it at once, and how many of them may be of clients that have not proved who
they are."""
IN_PLACE_BYTES_MAX = 65_536
"""Up to here unpacking costs less than changing the thread."""
_CHUNK_BYTES = 262_144


def inflated_small(message: bytes, encoding: int) -> bytes:
    """Unpack a message that can only be small.

    Raises:
        ResourceExhausted: it is larger than IN_PLACE_BYTES_MAX.
        InvalidArgument: it can't be unpacked.
    """
    inflater, first = _begun(message, encoding)
    if _goes_on(inflater, first):
        raise ResourceExhausted(f"The message is larger than {IN_PLACE_BYTES_MAX} bytes.")
    return _whole(inflater, first)


class Inflating:
    """The unpacking of one server, of messages of up to `bytes_max`."""

    def __init__(self, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._executor: ThreadPoolExecutor | None = None
        self._waiting = self._strangers = 0

    async def inflated(self, message: bytes, encoding: int, *, stranger: bool) -> bytes:
        """Unpack a message; who gives up waiting ends it.

        Raises:
            ResourceExhausted: it is larger than messages may be, or too many are being unpacked.
            InvalidArgument: it can't be unpacked.
        """
        inflater, first = _begun(message, encoding)
        if not _goes_on(inflater, first):
            return _whole(inflater, first)
        if self._waiting >= WAITING_MAX or (stranger and self._strangers >= STRANGERS_MAX):
            raise ResourceExhausted("Too many large messages are being unpacked; try again.")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS, "grpc-unpacking")
        gone = threading.Event()
        self._waiting += 1
        self._strangers += stranger
        try:
            return await asyncio.wrap_future(
                self._executor.submit(_rest, inflater, first, gone, self._bytes_max)
            )
        except zlib.error:
            raise _not_unpacked() from None
        finally:
            gone.set()
            self._waiting -= 1
            self._strangers -= stranger

    def close(self) -> None:
        """Unpack nothing more."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _begun(message: bytes, encoding: int) -> tuple[zlib._Decompress, bytes]:
    inflater = zlib.decompressobj(encoding)
    try:
        return inflater, inflater.decompress(message, IN_PLACE_BYTES_MAX)
    except zlib.error:
        raise _not_unpacked() from None


def _goes_on(inflater: zlib._Decompress, first: bytes) -> bool:
    return bool(inflater.unconsumed_tail) or (not inflater.eof and len(first) == IN_PLACE_BYTES_MAX)


def _rest(inflater: zlib._Decompress, first: bytes, gone: threading.Event, bytes_max: int) -> bytes:
    parts, size = [first], len(first)
    while not inflater.eof and not gone.is_set():
        part = inflater.decompress(inflater.unconsumed_tail, min(_CHUNK_BYTES, bytes_max + 1 - size))
        if not part:
            break
        size += len(part)
        if size > bytes_max:
            raise unpacked_message_too_large(bytes_max)
        parts.append(part)
    return _whole(inflater, b"".join(parts))


def _whole(inflater: zlib._Decompress, message: bytes) -> bytes:
    if not inflater.eof or inflater.unused_data:
        raise _not_unpacked()
    return message


def _not_unpacked() -> InvalidArgument:
    return InvalidArgument("The message can't be unpacked: it is not what grpc-encoding says.")
