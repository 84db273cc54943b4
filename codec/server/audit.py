"""The audit trail: one JSON line for each request that was decoded, encoded or refused. Format, version 1::

    {"v": 1, "time": RFC 3339 in UTC, "who": {"kind", "subject", "issuer", "email"}, "remote": address,
     "operation": "decode" | "encode" | "download", "namespace", "payloads": count, "bytes_in", "bytes_out",
     "fetched": from the object store, "stored": into it, "key_ids": [as payloads name them],
     "outcome": "done" | "refused" | "failed", "reason": a word, "status": of the answer, "omitted": lines left out}

It may grow by keys; a key's meaning does not change. No line holds any part of a payload's content. What a caller made
up (a namespace, a key id) stands in it shortened, as JSON text, so it can begin no line of its own.

An answer waits until its line is on disk: what was shown was written down first. Lines of many requests go to the disk
together. Whoever is refused often costs a few lines a second: the rest is counted (`omitted`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from codec.server.allowances import Buckets

_log = structlog.get_logger(__name__)

VERSION = 1
TEXT_MAX = 512
WAITING_MAX = 10_000
REFUSED_PER_SECOND_MAX = 10.0
REFUSED_BURST_MAX = 200


class AuditFailed(Exception):
    """A line could not be written: nothing may be shown that it would have told of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One request, as it is written down."""

    operation: str
    namespace: str | None
    who: Mapping[str, str]
    remote: str
    outcome: str
    status: int
    reason: str | None = None
    payloads: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    fetched: int = 0
    stored: int = 0
    key_ids: tuple[str, ...] = ()

    def text(self, now: datetime, omitted: int) -> str:
        """The line, without its end."""
        fields = {"v": VERSION, "time": now.astimezone(UTC).isoformat(timespec="milliseconds")}
        for name, value in dataclasses.asdict(self).items():
            if value not in (None, (), ""):
                fields[name] = _short(value)
        if omitted:
            fields["omitted"] = omitted
        return json.dumps(fields, separators=(",", ":"))


class Sink(Protocol):
    """Where lines go."""

    def write(self, content: bytes) -> None:
        """Keep `content`, durably; in a thread. Raises OSError."""
        ...


class FileSink:
    """A file that only grows, mode 0600. It may be moved away while the server runs: the next line begins a new one."""

    def __init__(self, path: Path) -> None:
        """Open it, so that a place that can't be written is found at the start.

        Raises:
            OSError: it can't be opened, is no regular file, or others may read it.
        """
        self._path = path
        self._file = self._open()
        self._torn = False

    def write(self, content: bytes) -> None:
        """Append, and see it onto the disk."""
        if self._moved():
            os.close(self._file)
            self._file = self._open()
            self._torn = False
        # A line that a full disk cut ends here, so that it takes no other with it.
        content = b"\n" + content if self._torn else content
        self._torn = True
        written = 0
        while written < len(content):
            written += os.write(self._file, content[written:])
        os.fdatasync(self._file)
        self._torn = False

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            os.close(descriptor)
            raise PermissionError(13, "it is no file of its owner alone (chmod 600)", str(self._path))
        return descriptor

    def _moved(self) -> bool:
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


class StdoutSink:
    """Standard output, for those whose logs are collected from there."""

    def write(self, content: bytes) -> None:
        """Write and flush."""
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


class AuditTrail:
    """Writes lines. Belongs to one event loop."""

    def __init__(
        self,
        sink: Sink,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sink = sink
        self._now = now
        self._refused = Buckets(REFUSED_PER_SECOND_MAX, REFUSED_BURST_MAX, clock)
        self._omitted = 0
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, line: Line) -> None:
        """Return once the line is on disk, with those of others.

        Raises:
            AuditFailed: it is not.
        """
        sender = f"{line.remote}\0{line.who.get('subject', '')}"
        if line.outcome == "refused" and self._refused.take(sender) > 0:
            self._omitted += 1
            return
        if len(self._waiting) >= WAITING_MAX:
            raise AuditFailed("too many lines wait to be written")
        done = asyncio.get_running_loop().create_future()
        omitted, self._omitted = self._omitted, 0
        self._waiting.append((line.text(self._now(), omitted), done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                content = "".join(f"{text}\n" for text, _ in batch).encode()
                fault: Exception | None = None
                try:
                    await asyncio.to_thread(self._sink.write, content)
                except OSError as error:
                    _log.error("codec_server.audit_failed", reason=error.strerror or type(error).__name__)
                    fault = AuditFailed(error.strerror or "it can't be written")
                for _, done in batch:
                    if done.cancelled():
                        continue
                    if fault is None:
                        done.set_result(None)
                    else:
                        done.set_exception(fault)
        finally:
            self._writing = None


def _short(value: object) -> object:
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_short(one) for one in value]
    return value
