"""Web pages that may ask and those that may not; the audit trail and what depends on it; how much is done at once."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload

from codec.audit_trail import AuditFailed, FileSink
from codec.server.allowances import Allowances, Bounds
from codec.server.audit import AuditTrail, Line
from codec.server.cors import Cors, OriginError
from codec.server.protocol import Refusal
from tests.codec.server.serving import ORDERS, PLAIN, SECRET, Kept, Served

UI = "http://localhost:8233"
ASKING = {"Origin": UI, "Access-Control-Request-Method": "POST"}


async def test_preflight(served: Served) -> None:
    answer = await served.ask(f"/{ORDERS}/decode", method="OPTIONS", headers=ASKING)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["vary"] == "Origin"
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"x-namespace", "content-type", "authorization", "authorization-extras"} <= set(allowed)
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-private-network" not in answer.headers
    assert "access-control-allow-credentials" not in answer.headers
    private = ASKING | {"Access-Control-Request-Private-Network": "true"}
    answer = await served.ask(f"/{ORDERS}/decode", method="OPTIONS", headers=private)
    assert answer.headers["access-control-allow-private-network"] == "true"


async def test_answers_and_errors_can_be_read_by_pages_that_may(served: Served) -> None:
    for body, status in (([PLAIN], 200), (b"{", 400)):
        answer = await served.ask(f"/{ORDERS}/decode", body, headers={"Origin": UI})
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == UI


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://localhost:8234", "http://localhost:8233.evil.example", "*"],
)
async def test_pages_that_may_not(served: Served, origin: str) -> None:
    for method in ("POST", "OPTIONS"):
        answer = await served.ask(f"/{ORDERS}/decode", [PLAIN], method=method, headers={"Origin": origin})
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    assert SECRET not in served.sink.content
    [line] = served.sink.lines
    assert (line["outcome"], line["reason"], line["status"]) == ("refused", "origin", 403)


async def test_credentials_and_any_origin(tmp_path: Path) -> None:
    with_cookies = Served(tmp_path, cors=Cors.of([UI + "/"], credentials=True))
    answer = await with_cookies.ask(f"/{ORDERS}/decode", headers={"Origin": UI})
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-origin"] == UI
    anybody = Served(tmp_path, cors=Cors.of(["*"]))
    answer = await anybody.ask(f"/{ORDERS}/decode", headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    with pytest.raises(OriginError):
        Cors.of(["*"], credentials=True)


@pytest.mark.parametrize(
    "origin", ["localhost:8233", "ftp://a", "https://a/path", "https://a b", "https://*.acme.example", ""]
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(OriginError):
        Cors.of([origin])


async def test_a_line_for_each_request(served: Served) -> None:
    [encoded] = await served.payloads(f"/{ORDERS}/encode", [PLAIN])
    await served.payloads(f"/{ORDERS}/decode", [encoded, encoded])
    await served.ask(f"/{ORDERS}/decode", b"{")
    encode, decode, refused = served.sink.lines
    assert encode["operation"] == "encode"
    assert decode.pop("time").endswith("+00:00")
    assert decode.pop("bytes_in") > 0
    assert decode == {
        "v": 1,
        "operation": "decode",
        "namespace": ORDERS,
        "who": {"kind": "nobody", "subject": "192.0.2.7"},
        "remote": "192.0.2.7",
        "outcome": "done",
        "status": 200,
        "payloads": 2,
        "bytes_out": 2 * PLAIN.ByteSize(),
        "fetched": 0,
        "stored": 0,
        "key_ids": ["key-of-orders.acme"],
    }
    assert (refused["outcome"], refused["reason"], refused["status"]) == ("refused", "malformed", 400)


async def test_nothing_is_shown_that_is_not_written_down(served: Served) -> None:
    served.sink.refuses = True
    answer = await served.ask(f"/{ORDERS}/decode", [PLAIN])
    assert answer.status == 503
    assert b"audit" in answer.body
    served.sink.refuses = False
    assert (await served.ask(f"/{ORDERS}/decode", [PLAIN])).status == 200


async def test_what_a_caller_makes_up_begins_no_line(served: Served) -> None:
    evil = 'x"}\n{"v":1,"outcome":"done"}\n' + "y" * 5_000
    payload = Payload(metadata={"encoding": b"binary/tacit-encrypted", "encryption-key-id": evil.encode()})
    await served.ask(f"/{ORDERS}/decode", [payload])
    await served.ask("/decode", headers={"X-Namespace": evil})
    assert len(served.sink.lines) == 2
    assert all(len(json.dumps(line)) < 1_500 for line in served.sink.lines)


async def test_a_flood_of_refusals_costs_few_lines(served: Served) -> None:
    for _ in range(300):
        await served.ask(f"/{ORDERS}/decode", b"{")
    assert len(served.sink.lines) == 200
    assert (await served.ask(f"/{ORDERS}/decode", [PLAIN])).status == 200
    assert served.sink.lines[-1]["omitted"] == 100


def a_line(number: int = 0) -> Line:
    return Line(operation="decode", namespace=f"n{number}", who={}, remote="r", outcome="done", status=200)


async def test_the_file_is_its_owners_and_may_be_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(FileSink(path), clock=lambda: 0.0)
    await asyncio.gather(*(trail.write(a_line(number)) for number in range(100)))
    assert path.stat().st_mode & 0o777 == 0o600
    found = [json.loads(line)["namespace"] for line in path.read_text().splitlines()]
    assert found == [f"n{number}" for number in range(100)]
    path.rename(tmp_path / "audit.1")
    await trail.write(a_line(100))
    assert json.loads(path.read_text())["namespace"] == "n100"
    assert len((tmp_path / "audit.1").read_text().splitlines()) == 100


def test_a_line_that_a_full_disk_cut_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path)
    write = os.write

    def cut(descriptor: int, content: bytes) -> int:
        if len(content) > 5:
            return write(descriptor, content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", cut)
    with pytest.raises(OSError, match="No space"):
        sink.write(b'{"n":1}\n')
    monkeypatch.undo()
    sink.write(b'{"n":2}\n')
    sink.write(b'{"n":3}\n')
    assert path.read_text().splitlines() == ['{"n":', '{"n":2}', '{"n":3}']


def test_files_that_are_not_written_to(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.touch(0o644)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for path in (open_to_all, link, tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(OSError, match=r".") as caught:
            FileSink(path)
        assert caught.value.strerror
    assert not (tmp_path / "elsewhere").exists()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(PermissionError):
        FileSink(fifo)
    os.close(reader)


async def test_a_disk_that_is_full_fails_those_that_wait_and_no_more() -> None:
    sink = Kept()
    sink.refuses = True
    trail = AuditTrail(sink, clock=lambda: 0.0)
    results = await asyncio.gather(*(trail.write(a_line()) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in results] == [AuditFailed] * 3
    sink.refuses = False
    await trail.write(a_line())
    assert len(sink.lines) == 1


async def test_at_once() -> None:
    bounds = Bounds(at_once_max=2, at_once_per_caller_max=3, waiting_max=1)
    allowances = Allowances(bounds, lambda: 0.0)
    release = asyncio.Event()
    running: list[str] = []

    async def work(caller: str) -> None:
        async with allowances.working(caller):
            running.append(caller)
            await release.wait()

    tasks = [asyncio.create_task(work(caller)) for caller in ("a", "a", "a")]
    await asyncio.sleep(0)
    assert running == ["a", "a"]
    with pytest.raises(Refusal) as caught:
        await work("a")
    assert caught.value.status == 429
    with pytest.raises(Refusal) as caught:
        await work("b")
    assert caught.value.status == 503
    tasks[2].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(work("b")))
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert running == ["a", "a", "b"]
    async with allowances.working("a"):
        pass
