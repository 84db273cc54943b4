"""Lines: what they may hold. Trails: what is kept when, what waits for what, and what is refused if it can't be kept."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import CodecError, audit_trail
from codec.audit_trail import (
    LIST_MAX,
    TEXT_MAX,
    AuditFailed,
    Durability,
    FileSink,
    StreamSink,
    Trail,
    line_of,
)

WRITTEN, SYNCED = Durability.WRITTEN, Durability.SYNCED


@given(
    st.dictionaries(
        st.text(), st.text(max_size=20) | st.integers(0, 2**40) | st.lists(st.text(max_size=9)), max_size=6
    )
)
def test_a_line_is_one_line_and_says_what_it_was_given(fields: dict[str, Any]) -> None:
    fields = {f"field {name}": value for name, value in fields.items()}
    line = line_of(fields)
    assert line.isascii()
    assert line.decode().splitlines(keepends=True) == [line.decode()]
    assert line.endswith(b"\n")
    read = json.loads(line)
    assert read.pop("v") == 1
    assert read.pop("time").endswith("+00:00")
    assert read == {name: value for name, value in fields.items() if value not in ("", [])}


def test_what_is_not_text_of_any_encoding_can_be_told() -> None:
    assert json.loads(line_of({"identity": "a\ud800b"}))["identity"] == "a\ud800b"


def test_a_line_is_short_whatever_it_is_given() -> None:
    long = "x" * 1_000_000
    read = json.loads(line_of({"a": long, "b": [long] * 1_000, "c": {"d": long}, "e": None}))
    assert len(read["a"]) == len(read["c"]["d"]) == TEXT_MAX
    assert len(read["b"]) == LIST_MAX
    assert read["b_omitted"] == 1_000 - LIST_MAX
    assert "e" not in read


class Disk:
    """A sink that tells what was asked of it, and from where; it can be slow, and fail."""

    is_file = True

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.threads: dict[bytes, str] = {}
        self.fails: set[str] = set()
        self.go_on = threading.Event()
        self.go_on.set()

    def follow(self) -> None:
        self._called("follow")

    def write(self, content: bytes) -> None:
        self.threads[content] = threading.current_thread().name
        self._called("write", content)

    def sync(self) -> None:
        self.go_on.wait(10)
        self._called("sync")

    def close(self) -> None:
        self._called("close")

    def _called(self, what: str, content: bytes = b"") -> None:
        if what in self.fails:
            raise OSError(28, "No space left on device")
        self.calls.append((what, content))

    @property
    def did(self) -> str:
        return " ".join(what for what, _ in self.calls)


async def until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


async def test_synced_lines_wait_for_the_disk_together() -> None:
    disk = Disk()
    trail = Trail(disk, durability=SYNCED)
    disk.go_on.clear()
    lines = [asyncio.create_task(trail.write(b"%d\n" % number)) for number in range(100)]
    await until(lambda: ("write", b"".join(b"%d\n" % number for number in range(100))) in disk.calls)
    late = asyncio.create_task(trail.write(b"late\n"))
    await asyncio.sleep(0.02)
    assert not any(line.done() for line in [*lines, late])
    disk.go_on.set()
    await asyncio.gather(*lines, late)
    assert disk.did == "follow write sync follow write sync"
    assert all(name.startswith("audit") for name in disk.threads.values())
    await trail.close()
    assert disk.did.endswith("write sync close")


async def test_written_lines_are_synced_soon_after() -> None:
    disk = Disk()
    trail = Trail(disk, durability=WRITTEN, sync_every_s=0.05)
    for number in range(50):
        await trail.write(b"%d\n" % number)
    assert b"".join(content for _, content in disk.calls) == b"".join(
        b"%d\n" % number for number in range(50)
    )
    await until(lambda: disk.calls[-1][0] == "sync")
    await asyncio.sleep(0.12)
    assert disk.did.count("follow") == disk.did.count("sync")
    assert disk.did.endswith("write sync"), "without lines there is nothing to sync"
    await trail.write(b"next\n")
    assert disk.calls[-2:] == [("follow", b""), ("write", b"next\n")]
    await trail.close()
    assert disk.did.endswith("write sync close")


async def test_the_event_loop_waits_for_no_sync() -> None:
    disk = Disk()
    trail = Trail(disk, durability=WRITTEN, sync_every_s=0.01)
    await trail.write(b"1\n")
    disk.go_on.clear()
    await asyncio.sleep(0.05)
    line = asyncio.create_task(trail.write(b"2\n"))
    await asyncio.sleep(0.05)
    assert not line.done(), "a file that is being synced may make writers wait, so they do in the thread"
    disk.go_on.set()
    await line
    assert disk.threads[b"2\n"].startswith("audit")
    await trail.close()


@pytest.mark.parametrize("durability", list(Durability))
async def test_a_disk_that_fails_refuses_lines_until_it_is_mended(durability: Durability) -> None:
    disk = Disk()
    trail = Trail(disk, durability=durability, sync_every_s=60)
    await trail.write(b"1\n")
    for fails in ({"write"}, {"follow", "write"}):
        disk.fails = fails
        for _ in range(3):
            with pytest.raises(AuditFailed, match="No space left on device"):
                await trail.write(b"2\n")
        disk.fails = set()
        await trail.write(b"3\n")
    assert b"2\n" not in [content for _, content in disk.calls]
    assert issubclass(AuditFailed, CodecError)
    await trail.close()


@pytest.mark.parametrize("durability", list(Durability))
async def test_a_sync_that_fails_refuses_lines_until_one_succeeds(durability: Durability) -> None:
    disk = Disk()
    trail = Trail(disk, durability=durability, sync_every_s=0.02)
    await trail.write(b"1\n")
    disk.fails = {"sync"}
    if durability is WRITTEN:
        await until(lambda: trail._faulty)
    for _ in range(3):
        with pytest.raises(AuditFailed):
            await trail.write(b"2\n")
    disk.fails = set()
    await trail.write(b"3\n")
    assert disk.did.index("sync") < disk.did.rindex("write")
    await trail.close()


async def test_the_end_of_a_trail_that_can_not_be_synced_is_told() -> None:
    disk = Disk()
    trail = Trail(disk, durability=WRITTEN, sync_every_s=60)
    await trail.write(b"1\n")
    disk.fails = {"sync"}
    with pytest.raises(AuditFailed, match="end of the audit trail"):
        await trail.close()
    assert disk.did.endswith("close")
    with pytest.raises(AuditFailed, match="closed"):
        await trail.write(b"2\n")


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_trail, "WAITING_BYTES_MAX", 10)
    disk = Disk()
    disk.go_on.clear()
    trail = Trail(disk, durability=SYNCED)
    first = asyncio.create_task(trail.write(b"1234\n"))
    await until(lambda: "write" in disk.did)
    more = [asyncio.create_task(trail.write(b"1234\n")) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert [one.done() for one in more] == [False, False, True]
    with pytest.raises(AuditFailed, match="as fast as it grows"):
        await more[2]
    disk.go_on.set()
    await asyncio.gather(first, *more[:2])
    await trail.close()


async def test_whoever_gives_up_takes_no_other_along() -> None:
    disk = Disk()
    disk.go_on.clear()
    trail = Trail(disk, durability=SYNCED)
    lines = [asyncio.create_task(trail.write(b"%d\n" % number)) for number in range(3)]
    await until(lambda: "write" in disk.did)
    lines[1].cancel()
    await asyncio.sleep(0)
    disk.go_on.set()
    assert [type(one) for one in await asyncio.gather(*lines, return_exceptions=True)] == [
        *(type(None), asyncio.CancelledError, type(None)),
    ]
    await trail.close()


@pytest.mark.parametrize("durability", list(Durability))
async def test_a_file_that_is_moved_away(tmp_path: Path, durability: Durability) -> None:
    path = tmp_path / "audit.jsonl"
    trail = Trail(FileSink(path), durability=durability, sync_every_s=0.01)
    await trail.write(b"1\n")
    path.rename(tmp_path / "audit.1")
    if durability is WRITTEN:
        await until(lambda: not trail._unsynced)
    await trail.write(b"2\n")
    assert (path.read_bytes(), (tmp_path / "audit.1").read_bytes()) == (b"2\n", b"1\n")
    await trail.close()


async def test_a_moved_file_is_kept_until_there_is_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    trail = Trail(FileSink(folder / "audit.jsonl"), durability=SYNCED)
    await trail.write(b"1\n")
    folder.rename(tmp_path / "gone")
    taken = os.open(tmp_path / "another", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(AuditFailed):
        await trail.write(b"2\n")
    folder.mkdir()
    await trail.write(b"3\n")
    assert (folder / "audit.jsonl").read_bytes() == b"3\n"
    assert (tmp_path / "another").read_bytes() == b""
    os.close(taken)
    await trail.close()


def test_a_file_that_a_crash_cut_goes_on_with_a_new_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch(0o600)
    path.write_bytes(b'{"n":1}\n{"n":')
    sink = FileSink(path)
    sink.write(b'{"n":3}\n')
    sink.close()
    assert path.read_bytes().split(b"\n") == [b'{"n":1}', b'{"n":', b'{"n":3}', b""]


def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    FileSink(path).close()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(PermissionError):
        FileSink(path)


async def test_a_fifo_without_a_reader_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    with pytest.raises(PermissionError):
        await asyncio.wait_for(asyncio.to_thread(FileSink, path), 10)


async def test_a_stream(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        trail = Trail(StreamSink(out), durability=WRITTEN)
        await asyncio.gather(*(trail.write(b"%d\n" % number) for number in range(3)))
        assert (tmp_path / "out").read_bytes() == b"0\n1\n2\n"
    with pytest.raises(AuditFailed, match="closed"):
        await trail.write(b"4\n")
    await trail.close()


async def test_a_reader_that_is_slow_does_not_hold_up_the_event_loop() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as out:
        trail = Trail(StreamSink(out), durability=WRITTEN)
        line = asyncio.create_task(trail.write(b"x" * 200_000 + b"\n"))
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert not line.done()
        read = 0
        while read < 200_001:
            read += len(await asyncio.to_thread(os.read, reader, 1 << 16))
        await line
        await trail.close()
    os.close(reader)
