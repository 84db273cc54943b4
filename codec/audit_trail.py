"""Audit trails: a line for all that is shown in the clear, kept before it is shown. The codec server and the sidecar have one each.

Format: a JSON object a line, in ASCII, so that nothing of what others made up (a namespace, an identity, a key id) can begin a
line. Each begins with ``{"v": 1, "time": RFC 3339 in UTC`` and has its writer's fields; more may come, and a field's meaning does
not change. Text longer than TEXT_MAX is cut; of a list longer than LIST_MAX the first stand there, and `NAME_omitted` counts the
rest. No line holds any part of a payload's content.

Lines are kept by a thread, those of many callers together. What a caller may show, and when, is its `Durability`:

- SYNCED: the line is on the disk. One sync serves all who wait.
- WRITTEN: the system has the line, so it outlives this process, killed or not; it is on the disk SYNC_EVERY_S later. Whoever
  cuts the power takes that much of the trail along. Lines in between cost a write of a few microseconds, on the event loop:
  to a file of this machine that only waits for a disk while a sync is under way, and then lines go to the thread.

If a line can't be kept, or what was written before can't be synced, the caller is told so, and shows nothing.
"""

from __future__ import annotations

import asyncio
import enum
import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO

import msgspec
import structlog

from codec.errors import CodecError

_log = structlog.get_logger(__name__)

VERSION = 1
TEXT_MAX = 512
LIST_MAX = 64
WAITING_BYTES_MAX = 16 * 1024 * 1024
SYNC_EVERY_S = 0.1
RETRY_S = 1.0
"""How long after a sync failed it is tried again, if nobody asks before."""


class AuditFailed(CodecError):
    """A line could not be kept: nothing may be shown that it would have told of."""


class Durability(enum.StrEnum):
    """What is true of a line before what it tells of is shown."""

    WRITTEN = "written"
    SYNCED = "synced"


class Sink(Protocol):
    """Where lines go. Everything here may raise OSError; one thread at a time uses it."""

    is_file: bool
    """Whether writing is a matter of microseconds, fit for an event loop, and is to be synced after."""

    def follow(self) -> None:
        """See whether the place is still the same, and go on in the new one if not."""

    def write(self, content: bytes) -> None:
        """Give whole lines to the system."""

    def sync(self) -> None:
        """See all that was written onto the disk."""

    def close(self) -> None:
        """Let go of it."""


class FileSink:
    """A file that only grows, mode 0600. It may be moved away meanwhile: then a new one is begun, within SYNC_EVERY_S."""

    is_file = True

    def __init__(self, path: Path) -> None:
        """Open it, so that a place that can't be written is found at the start.

        Raises:
            OSError: it can't be opened, is no regular file, or is not this user's alone.
        """
        self._path = path
        self._torn = False
        self._file = self._open()

    def follow(self) -> None:
        """Begin a new file if this one was moved away."""
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            there = None
        here = os.fstat(self._file)
        if there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return
        # The old one stays until the new one is there: else lines would go to whatever gets its number.
        old, self._file = self._file, self._open()
        os.close(old)

    def write(self, content: bytes) -> None:
        """Append."""
        # A line that a full disk or a crash cut ends here, so that it takes no other with it.
        content = b"\n" + content if self._torn else content
        self._torn = True
        written = os.write(self._file, content)
        while written < len(content):
            written += os.write(self._file, content[written:])
        self._torn = False

    def sync(self) -> None:
        """Wait for the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _open(self) -> int:
        # Not blocking: a FIFO in its place would wait for a reader for ever. Readable, to see how it ends.
        flags = (
            os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        )
        file = os.open(self._path, flags, 0o600)
        try:
            self._torn = self._is_cut(file)
        except BaseException:
            os.close(file)
            raise
        return file

    def _is_cut(self, file: int) -> bool:
        """Whether the file, which must be ours, ends within a line."""
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise PermissionError(13, "it is no file of its owner alone (chmod 600)", str(self._path))
        if status.st_size:
            return os.pread(file, 1, status.st_size - 1) != b"\n"
        _sync_folder(self._path.parent)
        return False


class StreamSink:
    """Standard output or error, for those whose logs are collected from there: durable is what the collector makes of it."""

    is_file = False
    """Whoever reads a pipe may be slow."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def follow(self) -> None:
        """It stays where it is."""

    def write(self, content: bytes) -> None:
        """Write and flush."""
        try:
            self._stream.write(content.decode("ascii"))
            self._stream.flush()
        except ValueError:
            raise OSError(9, "it is closed") from None

    def sync(self) -> None:
        """Nothing more can be done."""

    def close(self) -> None:
        """It is not ours."""


class Trail:
    """Keeps lines in one sink. Belongs to one event loop."""

    def __init__(self, sink: Sink, *, durability: Durability, sync_every_s: float = SYNC_EVERY_S) -> None:
        self._sink = sink
        self._synced = durability is Durability.SYNCED
        self._sync_every_s = sync_every_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._waiting_bytes = 0
        self._working: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._unsynced = False
        """Something was written since the last sync. Only whoever works, or nobody, changes it."""
        self._due = False
        """What is unsynced has waited long enough."""
        self._faulty = False
        """The last work failed: until some succeeds, nothing is written past the thread, and what is unsynced is synced first."""

    async def write(self, line: bytes) -> None:
        """Return once `line` (with its end) is as durable as was asked for.

        Raises:
            AuditFailed: it is not; the sentence says why.
        """
        if self._closed:
            raise AuditFailed("The audit trail is closed.")
        # The first line after a sync goes to the thread too, which looks whether the file was moved.
        if self._unsynced and self._working is None and not self._faulty and not self._synced:
            try:
                self._sink.write(line)
            except OSError as error:
                raise self._failed(error) from None
            return
        if self._waiting_bytes + len(line) > WAITING_BYTES_MAX:
            raise AuditFailed("The audit trail can't be written as fast as it grows.")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((line, done))
        self._waiting_bytes += len(line)
        self._start_work()
        await done

    async def close(self) -> None:
        """See all of it onto the disk, and let go of the sink.

        Raises:
            AuditFailed: what was written can't be synced.
        """
        self._closed = True
        if self._working is not None:
            await self._working
        if self._unsynced:
            self._due = True
            await self._start_work()
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown()
        self._sink.close()
        if self._unsynced:
            raise AuditFailed("The end of the audit trail can't be seen onto the disk.")

    def _start_work(self) -> asyncio.Task[None]:
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work_off())
        return self._working

    async def _work_off(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or self._due:
                batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
                due = self._due or (self._faulty and self._unsynced)
                self._due = False
                content = b"".join([line for line, _ in batch])
                fault: AuditFailed | None = None
                try:
                    await loop.run_in_executor(self._thread, self._keep, content, due)
                    self._faulty = False
                except OSError as error:
                    fault = self._failed(error)
                for _, done in batch:
                    if done.cancelled():
                        continue
                    if fault is None:
                        done.set_result(None)
                    else:
                        done.set_exception(fault)
        finally:
            self._working = None
            if self._unsynced and self._timer is None and not self._closed:
                after_s = RETRY_S if self._faulty else self._sync_every_s
                self._timer = loop.call_later(after_s, self._is_due)

    def _keep(self, content: bytes, due: bool) -> None:
        """One work of the thread."""
        if due:
            self._sink.sync()
            self._unsynced = False
        if not content:
            return
        if not self._unsynced:
            self._sink.follow()
        self._unsynced = self._sink.is_file
        self._sink.write(content)
        if self._synced:
            self._sink.sync()
            self._unsynced = False

    def _is_due(self) -> None:
        self._timer = None
        self._due = True
        self._start_work()

    def _failed(self, error: OSError) -> AuditFailed:
        reason = error.strerror or type(error).__name__
        if not self._faulty:
            _log.error("audit.failed", reason=reason)
        self._faulty = True
        return AuditFailed(f"The audit trail can't be written ({reason}), so nothing is shown.")


def line_of(fields: Mapping[str, object], now: datetime | None = None) -> bytes:
    """A line with its end, of the fields that are not None, empty text or an empty list. `now` has a time zone."""
    time = datetime.now(UTC) if now is None else now.astimezone(UTC)
    line: dict[str, object] = {"v": VERSION, "time": time.isoformat(timespec="milliseconds")}
    for name, value in fields.items():
        if isinstance(value, str):
            if value:
                line[name] = value[:TEXT_MAX]
        elif isinstance(value, list | tuple):
            if value:
                line[name] = [_short(one) for one in value[:LIST_MAX]]
            if len(value) > LIST_MAX:
                line[f"{name}_omitted"] = len(value) - LIST_MAX
        elif value is not None:
            line[name] = _short(value)
    try:
        content = msgspec.json.encode(line)
        if content.isascii():
            return content + b"\n"
    except UnicodeError:
        pass  # half a character, which JSON can say and UTF-8 can't
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _short(value: object) -> object:
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    return value


def _sync_folder(folder: Path) -> None:
    """See onto the disk that a new file is in it: else a crash could take the file with all its synced lines."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
