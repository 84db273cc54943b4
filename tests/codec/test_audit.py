"""`tacit codec audit`: planted leaks of every form are found, and what is encrypted raises no alarm."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import random
import sqlite3
import struct
import time
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path

import dpkt
import hpack
import pytest
import zstandard
from temporalio.api.common.v1 import Memo, Payload, Payloads
from temporalio.api.sdk.v1 import ExternalStorageReference
from typer.testing import CliRunner

import codec
import sdk
import sdk.files
from cloud.cli.codec_commands import app
from codec.audit import Audit, AuditError, Kind, Needles, read_canaries
from codec.audit.payloads import looks_random, payloads_in
from codec.audit.unpacking import Budget, opened

CANARY = 'Grüße/"quoted" & 100 % of ünsal\'s secret'
PLAIN_CANARY = "zq6f0c2ab94d7711e0a1b2c3d4e5f607"


def snappy_frame(data: bytes) -> bytes:
    """Snappy's framing with one compressed chunk: a literal, as incompressible text is stored."""
    block = (
        bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
        + bytes([61 << 2])
        + (len(data) - 1).to_bytes(2, "little")
    )
    chunk = bytes(4) + block + data
    return b"\xff\x06\x00\x00sNaPpY\x00" + len(chunk).to_bytes(3, "little") + chunk


FORMS: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64, one byte later": lambda text: base64.b64encode(b"x" + text.encode() + b"tail"),
    "base64, two bytes later": lambda text: base64.b64encode(b"xy" + text.encode() + b"tail"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"\xff\xfe" + text.encode()),
    "hex": lambda text: text.encode().hex().encode(),
    "capital hex": lambda text: text.encode().hex().upper().encode(),
    "URL-encoded": lambda text: urllib.parse.quote(text, safe="").encode(),
    "a form's fields": lambda text: urllib.parse.urlencode({"q": text}).encode(),
    "JSON": lambda text: json.dumps({"value": text}).encode(),
    "JSON in UTF-8": lambda text: json.dumps({"value": text}, ensure_ascii=False).encode(),
    "JSON in JSON": lambda text: json.dumps({"value": json.dumps(text)}).encode(),
    "HTML": lambda text: html.escape(text).encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zlib": lambda text: zlib.compress(text.encode() * 3),
    "zstd": lambda text: zstandard.compress(text.encode() * 50),
    "snappy": lambda text: snappy_frame(text.encode() * 3),
    "base64 of gzip": lambda text: base64.b64encode(gzip.compress(text.encode())),
    "hex of zstd": lambda text: zstandard.compress(text.encode() * 9).hex().encode(),
    "gzip of base64 of zlib": lambda text: gzip.compress(base64.b64encode(zlib.compress(text.encode() * 9))),
    "a payload": lambda text: Payload(
        metadata={"encoding": b"json/plain"}, data=text.encode()
    ).SerializeToString(),
}


def audit(canaries: list[str] | None = None) -> Audit:
    return Audit(Needles(canaries or []))


@pytest.mark.parametrize("canary", [CANARY, PLAIN_CANARY])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_wherever_it_stands(form: str, canary: str, tmp_path: Path) -> None:
    around = random.Random(form).randbytes(20_000)
    (tmp_path / "file").write_bytes(around + FORMS[form](canary) + around)
    work = audit(["another secret", canary])
    work.path(tmp_path)
    assert work.report.canaries_found == {2}, work.report.findings
    assert canary not in json.dumps(work.report.to_json(), ensure_ascii=False)


def test_nothing_is_found_in_random_bytes_and_ciphertext(tmp_path: Path) -> None:
    (tmp_path / "random").write_bytes(random.Random(7).randbytes(8_000_000))
    work = audit([CANARY, PLAIN_CANARY, *(os.urandom(8).hex() for _ in range(500))])
    work.path(tmp_path)
    work.objects(str(tmp_path))
    assert work.report.clean
    assert work.report.opaque == {"objects that are no payload and look random": 1}


def test_a_database_takes_its_journal_along_and_the_report_names_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = wal")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("CREATE TABLE t (v TEXT)")
    writer.execute("INSERT INTO t VALUES (?)", (PLAIN_CANARY,))
    writer.execute("DELETE FROM t")
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    try:
        for given in ([path], [link], [path, path.with_name("x.db-wal")], [tmp_path]):
            work = audit([PLAIN_CANARY])
            for one in given:
                work.path(one)
            assert work.report.canaries_found == {1}, given
            found = {finding.source for finding in work.report.findings}
            assert found == {str(path.with_name("x.db-wal"))}
            assert work.report.to_json()["taken_along"] == [str(path.with_name("x.db-wal"))]
    finally:
        writer.close()


def test_a_leak_across_windows_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.audit.looking.WINDOW_BYTES", 1000)
    for start in range(950, 1010):
        (tmp_path / "file").write_bytes(bytes(start) + PLAIN_CANARY.encode() + bytes(3000))
        work = audit([PLAIN_CANARY])
        work.path(tmp_path)
        assert [finding.offset for finding in work.report.findings] == [start]


async def encrypted(*values: str) -> list[Payload]:
    chain = codec.EncryptionCodec(codec.KeyRing.create("b", key_id="k1"))
    return await chain.encode(
        [Payload(metadata={"encoding": b"json/plain"}, data=one.encode()) for one in values]
    )


class TestPayloads:
    async def test_judged_by_what_they_show(self) -> None:
        secret, other = await encrypted(PLAIN_CANARY, "x" * 5000)
        samples = codec.EncryptionCodec(codec.KeyRing.create("b"), write_format=codec.WriteFormat.SAMPLES)
        [third] = await samples.encode([Payload(data=b"z" * 90)])
        reference = Payload(
            metadata={
                "encoding": b"json/protobuf",
                "messageType": ExternalStorageReference.DESCRIPTOR.full_name.encode(),
            },
            data=b'{"driverName": "tacit.objectstore"}',
        )
        attribute = Payload(metadata={"type": b"Keyword", "encoding": b"json/plain"}, data=b'"customer-1"')
        marker = Payload(metadata={"encoding": b"json/plain"}, data=b'{"id": "patch", "deprecated": false}')
        lying = Payload(metadata={"encoding": b"binary/tacit-encrypted"}, data=b"\x01" + b"readable " * 20)
        cases = (
            (secret, Kind.CIPHERTEXT),
            (other, Kind.CIPHERTEXT),
            (third, Kind.CIPHERTEXT),
            (reference, Kind.REFERENCE),
            (Payload(metadata={"encoding": b"binary/null"}), Kind.EMPTY),
            (attribute, Kind.BY_DESIGN),
            (marker, Kind.BY_DESIGN),
            (Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"'), Kind.PLAINTEXT),
            (
                Payload(metadata={"encoding": b"binary/zstd"}, data=zstandard.compress(b"a" * 99)),
                Kind.PLAINTEXT,
            ),
            (
                Payload(metadata={"encoding": b"json/mine"}, data=b"all is readable in this one, see"),
                Kind.PLAINTEXT,
            ),
            (Payload(metadata={"encoding": b"binary/mine"}, data=os.urandom(200)), Kind.UNKNOWN),
            (lying, Kind.PLAINTEXT),
        )
        for payload, kind in cases:
            for around in (
                payload.SerializeToString(),
                os.urandom(50) + payload.SerializeToString() + os.urandom(50),
                Memo(fields={"a": payload}).SerializeToString(),
            ):
                assert [found.kind for found in payloads_in(around)] == [kind], payload
        together = Payloads(payloads=[payload for payload, _ in cases]).SerializeToString()
        assert [found.kind for found in payloads_in(together)] == [kind for _, kind in cases]

    async def test_in_json_as_exports_and_the_http_api_have_them(self, tmp_path: Path) -> None:
        [secret] = await encrypted(PLAIN_CANARY)

        def shown(payload: Payload) -> dict[str, object]:
            return {
                "metadata": {
                    key: base64.b64encode(value).decode() for key, value in payload.metadata.items()
                },
                "data": base64.b64encode(payload.data).decode(),
            }

        attribute = Payload(metadata={"type": b"Keyword", "encoding": b"json/plain"}, data=b'"customer-1"')
        plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"')
        (tmp_path / "history.json").write_text(
            json.dumps({"events": [shown(one) for one in (secret, attribute, plain)]}, indent=2)
        )
        work = audit()
        work.path(tmp_path)
        assert work.report.payloads == {"ciphertext": 1, "readable by design": 1, "plaintext": 1}
        [finding] = work.report.findings
        assert finding.what == "payload of 7 bytes, encoding json/plain: is not encrypted"

    def test_randomness(self) -> None:
        for size in (0, 20, 32, 100, 1024, 5000):
            assert all(looks_random(os.urandom(size)) for _ in range(200))
        for text in (
            b"Readable text, which is not random at all.",
            json.dumps({"a": [1, 2, 3] * 300}).encode(),
        ):
            assert not looks_random(text)
        assert not looks_random(struct.pack("<500I", *range(500)))


class TestDatabases:
    async def test_rows_pages_and_what_was_deleted(self, tmp_path: Path) -> None:
        path = tmp_path / "service.db"
        [secret] = await encrypted("hello")
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE events (id INTEGER, name TEXT, body BLOB)")
        # Longer than a page, so that it lies on several and no search of the file alone sees it whole.
        long = os.urandom(3000) + gzip.compress(
            random.Random(3).randbytes(6000).hex().encode() + PLAIN_CANARY.encode()
        )
        connection.execute("INSERT INTO events VALUES (1, 'order-1', ?)", (long,))
        connection.execute("INSERT INTO events VALUES (2, 'order-2', ?)", (secret.SerializeToString(),))
        connection.execute("INSERT INTO events VALUES (3, 'order-3', ?)", (b"deleted " + CANARY.encode(),))
        connection.commit()
        connection.execute("DELETE FROM events WHERE id = 3")
        connection.commit()
        connection.close()
        work = audit([PLAIN_CANARY, CANARY])
        work.path(tmp_path)
        assert work.report.canaries_found == {1, 2}
        assert {(one.what, one.source.removeprefix(str(path))) for one in work.report.findings} == {
            ("canary 1", " (rows)"),
            ("canary 2", ""),
        }
        assert work.report.payloads == {"ciphertext": 1}
        assert work.report.readable["column events.name"].examples == ["order-1", "order-2"]

    async def test_what_is_left_of_ciphertext_is_no_finding(self, tmp_path: Path) -> None:
        """Free pages keep rows that others were written over in part."""
        path = tmp_path / "service.db"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE events (body BLOB)")
        connection.commit()
        connection.close()
        [secret] = await encrypted(os.urandom(2500).hex()[:2500])
        [lying] = [
            Payload(metadata={"encoding": b"binary/tacit-encrypted"}, data=b"\x01" + b"readable " * 200)
        ]
        for payload, clean in ((secret, True), (lying, False)):
            left = bytearray(payload.SerializeToString())
            left[900:1060] = bytes(160)
            content = bytearray(path.read_bytes())
            content[4096 - 3000 : 4096 - 3000 + len(left)] = left
            (tmp_path / "copy.db").write_bytes(content)
            work = audit()
            work.path(tmp_path / "copy.db")
            assert work.report.clean == clean

    def test_the_log_of_a_database_that_is_open(self, tmp_path: Path) -> None:
        path = tmp_path / "service.db"
        writer = sqlite3.connect(path)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE events (body TEXT)")
        writer.execute("INSERT INTO events VALUES (?)", (PLAIN_CANARY,))
        writer.commit()
        for look in (lambda work: work.database(str(path)), lambda work: work.path(tmp_path)):
            work = audit([PLAIN_CANARY])
            look(work)
            assert {Path(one.source).name for one in work.report.findings} == {
                "service.db (rows)",
                "service.db-wal",
            }
            # It stands in a column of texts, whose values are shown as examples.
            assert PLAIN_CANARY not in json.dumps(work.report.to_json())
        writer.close()

    @pytest.mark.postgres
    async def test_postgres(self, postgres_url: str) -> None:
        import asyncpg

        [secret] = await encrypted("hello")
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("DROP TABLE IF EXISTS audited")
        await connection.execute("CREATE TABLE audited (id bigint, name text, body bytea, empty bytea)")
        rows = [(number, f"order-{number}", secret.SerializeToString()) for number in range(3000)]
        rows.append((-1, "bad", zstandard.compress(PLAIN_CANARY.encode() * 5)))
        await connection.executemany("INSERT INTO audited (id, name, body) VALUES ($1, $2, $3)", rows)
        await connection.close()
        import asyncio

        work = audit([PLAIN_CANARY])
        await asyncio.to_thread(work.database, postgres_url)
        assert work.report.payloads["ciphertext"] == 3000
        assert work.report.readable["column audited.name"].count == 3001
        assert {one.place.partition(",")[0] for one in work.report.findings} == {"audited.body"}
        assert "zstd > raw" in {one.form for one in work.report.findings}

    def test_what_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "cut.db").write_bytes(b"SQLite format 3\0" + bytes(200))
        for name in ("cut.db", "missing.db"):
            with pytest.raises(AuditError, match=name):
                audit().database(str(tmp_path / name))
        with pytest.raises(AuditError, match="can't be reached") as caught:
            audit().database("postgresql://nobody:hidden@127.0.0.1:1/x")
        assert "hidden" not in str(caught.value)


class TestCaptures:
    def write(
        self, path: Path, segments: list[tuple[int, bytes, bool]], link: int = dpkt.pcap.DLT_EN10MB
    ) -> None:
        with path.open("wb") as file:
            writer = dpkt.pcap.Writer(file, linktype=link)
            for sequence, data, from_client in segments:
                ports = (5000, 7233) if from_client else (7233, 5000)
                tcp = dpkt.tcp.TCP(
                    sport=ports[0], dport=ports[1], seq=sequence, flags=dpkt.tcp.TH_ACK, data=data
                )
                ip = dpkt.ip.IP(src=b"\x0a\0\0\x01", dst=b"\x0a\0\0\x02", p=6, data=tcp)
                ip.len = len(ip)
                packet = dpkt.ethernet.Ethernet(data=ip) if link == dpkt.pcap.DLT_EN10MB else ip
                writer.writepkt(packet, time.time())

    def frame(self, kind: int, flags: int, stream: int, data: bytes) -> bytes:
        return len(data).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + data

    def call(self, message: bytes, headers: list[tuple[str, str]]) -> bytes:
        """A connection's bytes: a call whose message lies in several frames."""
        block = hpack.Encoder().encode([(":path", "/S/M"), *headers], huffman=True)
        body = b"\x01" + len(message).to_bytes(4, "big") + message
        frames = [self.frame(4, 0, 0, b""), self.frame(1, 4, 1, block)]
        frames += [self.frame(0, 0, 1, body[at : at + 10]) for at in range(0, len(body), 10)]
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames) + self.frame(0, 1, 1, b"")

    def segments(self, content: bytes, size: int = 100) -> list[tuple[int, bytes, bool]]:
        return [(1000 + at, content[at : at + size], True) for at in range(0, len(content), size)]

    @pytest.mark.parametrize("link", [dpkt.pcap.DLT_EN10MB, 101])
    def test_messages_across_frames_and_packets(self, tmp_path: Path, link: int) -> None:
        content = self.call(gzip.compress(b"of no use to anybody " * 40 + PLAIN_CANARY.encode() * 2), [])
        segments = self.segments(content)
        # As networks do it: out of order, and twice.
        random.Random(1).shuffle(segments[5:])
        segments = [*segments[:1], *segments[3:], *segments[1:5]]
        self.write(tmp_path / "a.pcap", segments, link)
        work = audit([PLAIN_CANARY])
        work.path(tmp_path)
        assert {(one.form, "stream 1" in one.place) for one in work.report.findings} == {("gzip > raw", True)}
        assert work.report.readable["header :path"].examples == ["/S/M"]
        assert not work.report.unread

    def test_headers_are_decoded_and_credentials_not_shown(self, tmp_path: Path) -> None:
        content = self.call(b"", [("x-order", PLAIN_CANARY), ("authorization", "Bearer token-of-somebody")])
        self.write(tmp_path / "a.pcap", self.segments(content))
        work = audit([PLAIN_CANARY])
        work.path(tmp_path)
        assert [one.place for one in work.report.findings] == [
            "10.0.0.1:5000 > 10.0.0.2:7233, headers of stream 1"
        ]
        told = json.dumps(work.report.to_json())
        assert "token-of-somebody" not in told
        assert PLAIN_CANARY not in told

    def test_tls_is_said_to_be_opaque_and_gaps_are_told(self, tmp_path: Path) -> None:
        content = b"\x16\x03\x01" + os.urandom(1000)
        self.write(tmp_path / "a.pcap", self.segments(content))
        work = audit([PLAIN_CANARY])
        work.path(tmp_path)
        assert work.report.clean
        assert work.report.opaque == {"bytes in TLS": 1003}
        segments = self.segments(self.call(os.urandom(700), []))
        del segments[3]
        self.write(tmp_path / "b.pcap", segments)
        work.path(tmp_path / "b.pcap")
        assert any("1 gaps" in one for one in work.report.unread)

    def test_damaged(self, tmp_path: Path) -> None:
        (tmp_path / "a.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" + b"\xff" * 10)
        with pytest.raises(AuditError, match=r"a\.pcap can't be read"):
            audit().path(tmp_path)


async def test_objects(tmp_path: Path) -> None:
    [secret] = await encrypted("hello")
    (tmp_path / "good").write_bytes(secret.SerializeToString())
    work = audit()
    work.objects(str(tmp_path))
    assert work.report.clean
    (tmp_path / "bad").write_bytes(b"Everybody who has the bucket can read this text.")
    (tmp_path / "worse").write_bytes(
        Payload(metadata={"encoding": b"json/plain"}, data=b'"a"').SerializeToString()
    )
    work.objects(str(tmp_path))
    assert sorted((one.place, one.what.partition(":")[0]) for one in work.report.findings) == [
        ("bad", "object of 48 bytes"),
        ("worse", "payload of 3 bytes, encoding json/plain"),
    ]


async def test_files_in_a_store(tmp_path: Path) -> None:
    options = sdk.DataConverterOptions(
        namespace="orders", key_ring=codec.KeyRing.create("orders"), object_store=tmp_path.as_uri()
    )
    await sdk.files.Files(options).put(PLAIN_CANARY.encode() * 300_000, name=f"{PLAIN_CANARY}.txt")
    work = audit([PLAIN_CANARY])
    work.objects(str(tmp_path))
    assert work.report.clean, work.report.findings
    assert work.report.readable["object: a file's size, key id and form"].count >= 1
    assert work.report.opaque["objects that are no payload and look random"] == 2


class TestBounds:
    def test_bombs_end(self, tmp_path: Path) -> None:
        bomb = zstandard.compress(bytes(200_000_000)) + gzip.compress(bytes(200_000_000))
        budget = Budget(1_000_000)
        assert sum(len(content) for _, content, _ in opened(bomb, budget)) <= 1_000_000
        assert not budget.left

    def test_of_the_canaries(self, tmp_path: Path) -> None:
        with pytest.raises(AuditError, match="Canary 2 has 3 bytes"):
            Needles(["long enough", "abc"])
        with pytest.raises(AuditError, match="can't be read"):
            read_canaries(tmp_path / "missing")
        (tmp_path / "empty").write_text("\n \n")
        with pytest.raises(AuditError, match="holds no canaries"):
            read_canaries(tmp_path / "empty")
        assert PLAIN_CANARY not in repr(Needles([PLAIN_CANARY]))


class TestCommand:
    def run(self, *words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["audit", *words])
        return done.exit_code, done.stdout, done.stderr

    def test_exit_codes(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("nothing to see\n")
        (tmp_path / "canaries").write_text(f"{PLAIN_CANARY}\n")
        assert self.run(str(tmp_path / "log"))[0] == 0
        code, out, err = self.run(str(tmp_path / "log"), "--canaries", str(tmp_path / "canaries"))
        assert (code, "0 of 1 found" in out, "No plaintext was found" in out) == (0, True, True)
        (tmp_path / "log").write_text(f"oh {PLAIN_CANARY}\n")
        code, out, _ = self.run(str(tmp_path / "log"), "--canaries", str(tmp_path / "canaries"), "-o", "json")
        report = json.loads(out)
        assert (code, report["clean"], report["canaries_found"]) == (1, False, [1])
        code, out, err = self.run(str(tmp_path / "log"), "--canaries", str(tmp_path / "canaries"))
        assert code == 1
        assert "canary 1" in out
        assert PLAIN_CANARY not in out + err

    def test_what_is_readable_has_an_example_a_line(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "x.db") as database:
            database.execute("CREATE TABLE t (id TEXT)")
            database.executemany("INSERT INTO t VALUES (?)", [("first-id",), ("second-id",)])
        out = self.run(str(tmp_path / "x.db"))[1]
        [line] = [line for line in out.splitlines() if "first-id" in line]
        assert "second-id" not in line
        assert "second-id" in out

    def test_misuse(self, tmp_path: Path) -> None:
        assert self.run()[0] == 2
        assert self.run(str(tmp_path), "--object-option", "nonsense")[0] == 2
        code, _, err = self.run(str(tmp_path / "missing"))
        assert (code, err.strip()) == (1, f"error: {tmp_path / 'missing'} is not there.")
