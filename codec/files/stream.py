"""What `open` gives: a file that is read from front to back, or by range."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType

from codec.errors import FileError
from codec.files.handle import FileHandle
from codec.files.reading import OpenFile


class FileStream:
    """A file's content, or the part of it from `start` to `stop`, within ``async with``.

    Iterating gives `bytes` of at most a chunk (256 KiB). Whoever reads slowly holds up the fetching, not the memory.
    """

    def __init__(
        self, handle: FileHandle, opening: Callable[[], Awaitable[OpenFile]], start: int, stop: int | None
    ) -> None:
        self.handle = handle
        self._opening = opening
        self._start, self._stop = start, stop
        self._file: OpenFile | None = None
        self._parts: AsyncGenerator[bytes, None] | None = None
        self._rest = b""

    async def __aenter__(self) -> FileStream:
        file = await self._opening()
        start, stop = _range(self._start, self._stop, file.claims.size)
        self._file = file
        self._parts = _parts(file, start, stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parts is not None:
            await self._parts.aclose()
        self._file = self._parts = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self._next():
            yield part

    async def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end; without a size all that is left: mind the memory.

        Raises:
            ObjectMissing, ObjectCorrupt, InvalidFile, OffloadError: see `codec.errors`.
        """
        parts: list[bytes] = []
        missing = size
        while missing and (part := await self._next()):
            if 0 < missing < len(part):
                part, self._rest = part[:missing], part[missing:]
            parts.append(part)
            missing -= len(part) if missing > 0 else 0
        return b"".join(parts)

    async def read_range(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on (counted in the whole file), fewer only at its end; only these are fetched.

        Raises:
            ObjectMissing, ObjectCorrupt, OffloadError: see `codec.errors`.
        """
        file = self._opened()
        start, stop = _range(start, start + length, file.claims.size)
        async with contextlib.aclosing(_parts(file, start, stop)) as parts:
            return b"".join([part async for part in parts])

    async def _next(self) -> bytes:
        self._opened()
        assert self._parts is not None
        if part := self._rest:
            self._rest = b""
            return part
        return await anext(self._parts, b"")

    def _opened(self) -> OpenFile:
        if self._file is None:
            raise FileError("A file's stream is read within `async with`.")
        return self._file


async def _parts(file: OpenFile, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    chunk_bytes = file.manifest.layout.shape.chunk_bytes
    async with contextlib.aclosing(file.blocks(start, stop)) as blocks:
        async for block in blocks:
            for at in range(0, len(block), chunk_bytes):
                yield bytes(block[at : at + chunk_bytes])


def _range(start: int, stop: int | None, size: int) -> tuple[int, int]:
    """Both ends within the file, as a slice has them, but none counted from the end."""
    if start < 0 or (stop is not None and stop < start):
        raise FileError(
            f"A file has no range from {start} to {stop}: give the bytes' places from its beginning on."
        )
    return min(start, size), size if stop is None else min(stop, size)
