"""What a file is put from: a path, bytes, or a stream of either kind, all read by filling a buffer."""

from __future__ import annotations

import abc
import asyncio
import inspect
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from codec.errors import FileError, LocalFileFailed, SourceChanged
from codec.files.objects import in_thread

Buffer = bytes | bytearray | memoryview


@runtime_checkable
class Readable(Protocol):
    """A binary file, or a stream whose `read` is awaited (as `asyncio.StreamReader`'s)."""

    def read(self, size: int, /) -> Any:
        """At most `size` bytes; none at the end."""
        ...


Content = str | os.PathLike[str] | Buffer | Readable | AsyncIterable[Buffer] | Iterable[Buffer]
"""What `put` takes: a path, bytes, a binary file or stream, or an iterable of bytes of either kind."""


class Source(abc.ABC):
    """Something that is read once, from its beginning to its end. `size` in bytes, where it is known before."""

    name = ""
    size: int | None = None

    @abc.abstractmethod
    async def fill(self, buffer: memoryview) -> int:
        """Read until `buffer` is full or nothing is left; how many bytes that were.

        Raises:
            LocalFileFailed: it cannot be read.
        """

    async def take(self, buffer: memoryview, hash_update: Callable[[memoryview], None]) -> int:
        """Fill `buffer`, and hash what was read.

        Raises:
            LocalFileFailed: it cannot be read.
        """
        count = await self.fill(buffer)
        await in_thread(hash_update, buffer[:count])
        return count

    async def finish(self) -> None:
        """All was read: see whether it was one thing from beginning to end.

        Raises:
            SourceChanged: it was not.
        """
        return

    async def close(self) -> None:
        """Give up what this has opened."""
        return


async def source_of(content: Content) -> Source:
    """The source that `content` is.

    Raises:
        LocalFileFailed: a path that cannot be read.
        FileError: it is nothing that bytes can be read from.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        return _Bytes(memoryview(content).cast("B"))
    if isinstance(content, str | os.PathLike):
        return await in_thread(_Path, Path(content))
    if isinstance(content, Readable):
        return _Stream(content)
    if isinstance(content, AsyncIterable):
        return _Pieces(aiter(content))
    if isinstance(content, Iterable):
        return _Pieces(_in_threads(iter(content)))
    raise FileError(
        f"A file is put from a path, bytes, a binary stream or an iterable of bytes, not from a {type(content).__name__}."
    )


class _Bytes(Source):
    def __init__(self, content: memoryview) -> None:
        self._left = content
        self.size = len(content)

    async def fill(self, buffer: memoryview) -> int:
        taken = self._left[: len(buffer)]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)


class _Path(Source):
    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name
        try:
            # O_NONBLOCK: opening a named pipe must not wait for a writer.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise self._failed(error) from error
        self._before = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            os.close(self._descriptor)
            raise LocalFileFailed(f"{path} is not a regular file: open it and put the stream.")
        self.size = self._before.st_size
        self._read = 0

    async def fill(self, buffer: memoryview) -> int:
        return await in_thread(self._fill, buffer)

    async def take(self, buffer: memoryview, hash_update: Callable[[memoryview], None]) -> int:
        def work() -> int:
            count = self._fill(buffer)
            hash_update(buffer[:count])
            return count

        # One change of threads for both: on a busy machine these are what a transfer waits for.
        return await in_thread(work)

    async def finish(self) -> None:
        now = os.fstat(self._descriptor)
        before = self._before
        if (now.st_size, now.st_mtime_ns) != (
            before.st_size,
            before.st_mtime_ns,
        ) or self._read != now.st_size:
            raise SourceChanged(
                f"{self._path} was changed while it was read, so what was read is neither its old nor its new content. "
                "Put it again once nobody writes to it."
            )

    async def close(self) -> None:
        os.close(self._descriptor)

    def _fill(self, buffer: memoryview) -> int:
        done = 0
        try:
            while done < len(buffer) and (count := os.readv(self._descriptor, [buffer[done:]])):
                done += count
        except OSError as error:
            raise self._failed(error) from error
        self._read += done
        return done

    def _failed(self, error: OSError) -> LocalFileFailed:
        return LocalFileFailed(f"{self._path} cannot be read: {error.strerror}.")


class _Stream(Source):
    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        name = getattr(stream, "name", "")
        self.name = Path(name).name if isinstance(name, str) else ""
        self._awaits = inspect.iscoroutinefunction(stream.read)

    async def fill(self, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            part = await self._read(len(buffer) - done)
            if not part:
                break
            if len(part) > len(buffer) - done:
                raise FileError("A stream's read(size) gave more bytes than it was asked for.")
            buffer[done : done + len(part)] = part
            done += len(part)
        return done

    async def _read(self, size: int) -> Buffer:
        read: Callable[[int], Any] = self._stream.read
        try:
            part = read(size) if self._awaits else await asyncio.to_thread(read, size)
            if isinstance(part, Awaitable):
                part = await part
        except OSError as error:
            raise LocalFileFailed(f"The stream cannot be read: {error}.") from error
        return _checked(part)


class _Pieces(Source):
    def __init__(self, pieces: AsyncIterator[Buffer]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    async def fill(self, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            if not self._left:
                try:
                    self._left = memoryview(_checked(await anext(self._pieces))).cast("B")
                except StopAsyncIteration:
                    break
                continue
            taken = self._left[: len(buffer) - done]
            buffer[done : done + len(taken)] = taken
            self._left = self._left[len(taken) :]
            done += len(taken)
        return done


# An application's own streams are read in the event loop's usual threads: one that waits, for a pipe say, must not take those
# that move files.


async def _in_threads(pieces: Iterator[Any]) -> AsyncIterator[Buffer]:
    end = object()
    while (piece := await asyncio.to_thread(next, pieces, end)) is not end:
        yield _checked(piece)


def _checked(part: object) -> Buffer:
    if not isinstance(part, bytes | bytearray | memoryview):
        raise FileError(
            f"A file's content is bytes, and the stream gave a {type(part).__name__}: open it in binary mode."
        )
    return part
