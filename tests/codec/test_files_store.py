"""Files in a store: what was put comes back, whole or by range, or it is an error that says what is wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import codec
from codec import FixedKeys, KeyRing
from codec.files.buffers import Budget
from codec.files.file_key import FileKeys
from codec.files.handle import FILE_MAX_BYTES, FileAddress, FileHandle, find_addresses
from codec.files.inventory import delete_file, list_files
from codec.files.layout import Shape
from codec.files.store import FileStore
from codec.keys.provider import Keys
from codec.keys.subject_store import SubjectStore
from codec.keys.subjects import SubjectKeys, each_workflow
from codec.storage.object_store import OpenStore, open_store

SHAPE = Shape(segment_bytes=1024, chunk_bytes=256)
RING = KeyRing.create("orders.acme", key_id="k1")
SIZES = [0, 1, 255, 256, 257, 1023, 1024, 1025, 5000, 16 * 1024]


def file_store(
    folder: Path, *, keys: Keys | KeyRing | None = RING, namespace: str = "orders.acme", **more: Any
) -> FileStore:
    plain = more.pop("refuse_plaintext", False)
    held = FixedKeys(keys) if isinstance(keys, KeyRing) else keys
    return FileStore(
        open_store(folder.as_uri()),
        namespace=namespace,
        keys=FileKeys(keys=held, refuse_plaintext=plain),
        **{"shape": SHAPE} | more,
    )


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def objects(folder: Path) -> dict[str, Path]:
    """All objects by the last part of their paths."""
    return {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}


def segments(folder: Path) -> list[Path]:
    return [path for name, path in objects(folder).items() if name.startswith("segment-")]


async def read(files: FileStore, handle: FileHandle) -> bytes:
    async with files.open(handle) as stream:
        return await stream.read()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keys", [RING, None], ids=["encrypted", "plain"])
async def test_round_trip(tmp_path: Path, size: int, keys: KeyRing | None) -> None:
    files, content = file_store(tmp_path, keys=keys), content_of(size)
    handle = await files.put(content, name="film.mp4")
    assert (handle.size, handle.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert (handle.name, handle.content_type) == ("film.mp4", "video/mp4")
    another = file_store(tmp_path, keys=keys)
    assert await read(another, handle) == content
    async with another.open(handle) as stream:
        assert b"".join([part async for part in stream]) == content
    await another.download(handle, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


async def test_nothing_of_the_content_name_or_key_lies_in_the_store(tmp_path: Path) -> None:
    secret = b"correct horse battery staple"
    handle = await file_store(tmp_path).put(secret * 100, name="secret-plan.txt", upload="u")
    stored = b"".join(path.read_bytes() for path in objects(tmp_path).values())
    for one in (secret, b"secret-plan", handle.sha256.encode(), bytes.fromhex(handle.sha256)):
        assert one not in stored
        assert base64.b64encode(one) not in stored
    assert "secret-plan" not in repr(handle)
    assert handle.sha256 not in repr(handle)
    assert handle.uri in repr(handle)


class TestSources:
    async def from_(self, folder: Path, source: Any) -> bytes:
        files = file_store(folder / "objects")
        return await read(files, await files.put(source))

    @pytest.mark.parametrize("size", SIZES)
    async def test_all_kinds(self, tmp_path: Path, size: int) -> None:
        content = content_of(size)
        path = tmp_path / "source.bin"
        path.write_bytes(content)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, size, 300):
                yield content[at : at + 300]
                yield b""

        def plain_pieces() -> Iterator[bytearray]:
            for at in range(0, size, 7000):
                yield bytearray(content[at : at + 7000])

        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        with path.open("rb") as opened, path.open("rb", buffering=0) as raw:
            for source in (
                path, str(path), content, bytearray(content), memoryview(content), opened, raw,
                io.BytesIO(content), reader, pieces(), plain_pieces(),
            ):  # fmt: skip
                assert await self.from_(tmp_path, source) == content, type(source)

    async def test_name_is_the_paths_own(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b"{}")
        handle = await file_store(tmp_path / "o").put(tmp_path / "a.json")
        assert (handle.name, handle.content_type) == ("a.json", "application/json")

    @pytest.mark.parametrize("source", [3, None, object(), ["text"], io.StringIO("text")])
    async def test_what_gives_no_bytes_is_refused(self, tmp_path: Path, source: Any) -> None:
        with pytest.raises(codec.FileError, match="bytes"):
            await file_store(tmp_path).put(source)
        assert not any(name.startswith("manifest") for name in objects(tmp_path))

    async def test_paths_that_cannot_be_read(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for name, why in (("none", "No such file"), (".", "regular file"), ("pipe", "regular file")):
            with pytest.raises(codec.LocalFileFailed, match=why):
                await file_store(tmp_path / "o").put(tmp_path / name)

    @pytest.mark.parametrize(
        "change", [lambda path: path.write_bytes(bytes(9000)), lambda path: os.truncate(path, 100)]
    )
    async def test_source_that_is_written_to_meanwhile(
        self, tmp_path: Path, change: Callable[[Path], None]
    ) -> None:
        path = tmp_path / "source"
        path.write_bytes(content_of(8000))
        with pytest.raises(codec.SourceChanged, match="while it was read"):
            await file_store(tmp_path / "o").put(path, progress=lambda done, total: change(path))
        assert not any(name.startswith("manifest") for name in objects(tmp_path / "o"))

    async def test_names_that_are_no_names(self, tmp_path: Path) -> None:
        for name in ("a\nb", "x" * 1025):
            with pytest.raises(codec.InvalidFile, match="name has at most"):
                await file_store(tmp_path).put(b"", name=name)


class TestRanges:
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(
        size=st.sampled_from(SIZES),
        start=st.integers(0, 6000),
        length=st.integers(0, 6000),
        reads=st.lists(st.integers(0, 700), max_size=8),
    )
    def test_ranges_are_slices(
        self, tmp_path_factory: pytest.TempPathFactory, size: int, start: int, length: int, reads: list[int]
    ) -> None:
        files, content = file_store(tmp_path_factory.getbasetemp() / "ranges"), content_of(size)

        async def check() -> None:
            handle = await files.put(content)
            async with files.open(handle) as stream:
                assert await stream.read_range(start, length) == content[start : start + length]
                assert await stream.read() == content
                assert await stream.read() == b""
            async with files.open(handle, start=start, stop=start + length) as stream:
                expected = io.BytesIO(content[start : start + length])
                for count in reads:
                    assert await stream.read(count) == expected.read(count)
                assert await stream.read() == expected.read()
            async with files.open(handle, start=start) as stream:
                assert b"".join([part async for part in stream]) == content[start:]

        asyncio.run(check())

    async def test_only_the_chunks_of_a_range_are_fetched(self, tmp_path: Path) -> None:
        files, content = file_store(tmp_path), content_of(5000)
        handle = await files.put(content)
        for path in segments(tmp_path):
            if not path.name.startswith("segment-000002"):
                path.unlink()
        async with files.open(handle) as stream:
            assert await stream.read_range(2048 + 300, 100) == content[2348:2448]
            with pytest.raises(codec.ObjectMissing):
                await stream.read_range(2047, 2)

    async def test_ranges_that_are_none(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handle = await files.put(b"content")
        for start, stop in ((-1, None), (3, 2)):
            with pytest.raises(codec.FileError, match="no range"):
                async with files.open(handle, start=start, stop=stop):
                    pass

    async def test_reading_outside_of_its_block(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        stream = files.open(await files.put(b"content"))
        with pytest.raises(codec.FileError, match="async with"):
            await stream.read()
        async with stream:
            assert await stream.read(3) == b"con"
        with pytest.raises(codec.FileError, match="async with"):
            await stream.read()


class TestDamage:
    """Whatever is done to a file's objects or to its handle is an error, never other content."""

    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
    @given(data=st.data())
    def test_any_damage_to_any_object(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        folder = tmp_path_factory.mktemp("damage")
        files, content = file_store(folder), content_of(data.draw(st.sampled_from(SIZES[1:])))

        async def check() -> None:
            handle = await files.put(content, upload="u")
            other = await files.put(content_of(4000), upload="v")
            theirs = FileAddress.parse(other.uri)
            mine = [
                path
                for path in objects(folder).values()
                if theirs.id not in str(path) and "start-" not in path.name
            ]
            target = data.draw(st.sampled_from(mine))
            before = target.read_bytes()
            kind = data.draw(st.sampled_from(["flip", "cut", "extend", "delete", "swap", "replace"]))
            match kind:
                case "flip":
                    at = data.draw(st.integers(0, len(before) * 8 - 1))
                    changed = bytearray(before)
                    changed[at // 8] ^= 1 << at % 8
                    target.write_bytes(changed)
                case "cut":
                    target.write_bytes(before[: data.draw(st.integers(0, len(before) - 1))])
                case "extend":
                    target.write_bytes(before + data.draw(st.binary(min_size=1, max_size=600)))
                case "delete":
                    target.unlink()
                case _:
                    others = list(objects(folder).values()) if kind == "replace" else mine
                    source = data.draw(st.sampled_from(others))
                    after = source.read_bytes()
                    if after == before:
                        return
                    target.write_bytes(after)
                    if kind == "swap":
                        source.write_bytes(before)
            with pytest.raises((codec.ObjectCorrupt, codec.ObjectMissing, codec.InvalidFile)):
                await read(file_store(folder), handle)
            with pytest.raises(codec.CodecError):
                await file_store(folder).download(handle, folder / "copy")
            assert not (folder / "copy").exists()

        asyncio.run(check())

    async def test_an_older_version_of_a_segment_cannot_take_its_place(self, tmp_path: Path) -> None:
        """Same file, same key, same index: only the content differs."""
        files = file_store(tmp_path)
        old, new = content_of(5000), content_of(5000)[:4999] + b"!"
        first = await files.put(old, upload="u")
        before = {path.name: path for path in segments(tmp_path)}
        second = await files.put(new, upload="u")
        assert first.uri == second.uri
        added = [path for path in segments(tmp_path) if path.name not in before]
        [replaced] = [path for path in before.values() if path.name.startswith("segment-000004")]
        # Only the segment that differs was sent, and each handle reads its own content.
        assert len(added) == 1
        assert (await read(files, first), await read(files, second)) == (old, new)
        added[0].write_bytes(replaced.read_bytes())
        with pytest.raises(codec.ObjectCorrupt, match="does not authenticate"):
            await read(files, second)

    @pytest.mark.parametrize(
        "change",
        [
            {"uri": "tacit-file:v2:orders.acme:" + "0" * 32},
            {"uri": "tacit-file:v1:../..:" + "0" * 32},
            {"uri": "tacit-file:v1:orders.acme:" + "0" * 31 + "/"},
            {"uri": "tacit-file:v1:orders.acme:" + "0" * 33},
            {"uri": "file:///etc/passwd"},
            {"uri": 3},
            {"size": -1},
            {"size": FILE_MAX_BYTES + 1},
            {"size": 7.0},
            {"size": True},
            {"size": 4},
            {"sha256": "0" * 64},
            {"sha256": "../" * 10},
            {"sha256": None},
            {"manifest": "../../../../other"},
            {"manifest": "A" * 64},
        ],
    )
    async def test_handles_from_an_attacker(self, tmp_path: Path, change: dict[str, Any]) -> None:
        files = file_store(tmp_path)
        handle = dataclasses.replace(await files.put(b"content"), **change)
        assert repr(handle)
        with pytest.raises(codec.InvalidFile):
            await read(files, handle)

    async def test_a_handle_of_another_kind(self, tmp_path: Path) -> None:
        with pytest.raises(codec.InvalidFile, match="FileHandle"):
            await read(file_store(tmp_path), {"uri": "x"})  # type: ignore[arg-type]

    async def test_a_manifest_that_is_named_by_its_hash_and_was_made_without_the_key(
        self, tmp_path: Path
    ) -> None:
        files = file_store(tmp_path)
        handle = await files.put(content_of(3000))
        [path] = [path for name, path in objects(tmp_path).items() if name.startswith("manifest-")]
        body, _, mac = path.read_bytes().rpartition(b"\n")
        document = json.loads(body)
        salts = base64.b64decode(document["salts"])
        document["salts"] = base64.b64encode(salts[16:32] + salts[:16] + salts[32:]).decode()
        for forged in (
            json.dumps(document).encode() + b"\n" + mac,
            body + b"\n" + b"0" * 64,
            body + b"\n",
            body + b" \n" + mac,
        ):
            digest = hashlib.sha256(forged).hexdigest()
            path.with_name(f"manifest-{digest}").write_bytes(forged)
            with pytest.raises(codec.InvalidFile, match="does not authenticate"):
                await read(files, dataclasses.replace(handle, manifest=digest))

    @pytest.mark.parametrize(
        "change",
        [
            {"version": 2},
            {"format": "tacit-file-start"},
            {"more": 1},
            {"uri": "tacit-file:v1:orders.acme:" + "0" * 32},
            {"size": 2**50},
            {"size": "3000"},
            {"segment-bytes": 2**40},
            {"segment-bytes": 64, "chunk-bytes": 0},
            {"chunk-bytes": None},
            {"salts": "AAAA"},
            {"salts": 7},
            {"salts": "%" * 64},
            {"key": {}},
            {"key": {"bare": "AAAA"}},
            {"key": {"id": "k1", "sealed": "AAAA"}},
            {"key": {"id": "", "sealed": "A" * 96}},
            {"key": {"id": "k1", "sealed": "A" * 96, "wrapped": "A" * 30000}},
            {"key": {"id": "k1", "sealed": "A" * 96}},
        ],
    )
    async def test_manifests_from_an_attacker(self, tmp_path: Path, change: dict[str, Any]) -> None:
        files = file_store(tmp_path)
        handle = await files.put(content_of(3000))
        [path] = [path for name, path in objects(tmp_path).items() if name.startswith("manifest-")]
        body, _, mac = path.read_bytes().rpartition(b"\n")
        forged = json.dumps(json.loads(body) | change).encode() + b"\n" + mac
        digest = hashlib.sha256(forged).hexdigest()
        path.with_name(f"manifest-{digest}").write_bytes(forged)
        with pytest.raises(codec.InvalidFile):
            await read(files, dataclasses.replace(handle, manifest=digest))

    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        content=st.binary(max_size=300)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
        ).map(lambda value: json.dumps(value).encode())
    )
    def test_garbage_for_a_manifest(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        folder = tmp_path_factory.mktemp("garbage")
        files = file_store(folder)

        async def check() -> None:
            handle = await files.put(b"content")
            digest = hashlib.sha256(content + b"\n").hexdigest()
            path = folder / FileAddress.parse(handle.uri).prefix / f"manifest-{digest}"
            path.write_bytes(content + b"\n")
            with pytest.raises(codec.InvalidFile):
                await read(files, dataclasses.replace(handle, manifest=digest))

        asyncio.run(check())

    async def test_a_manifest_is_not_read_into_memory_whatever_its_size(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handle = await files.put(b"content")
        [path] = [path for name, path in objects(tmp_path).items() if name.startswith("manifest-")]
        os.truncate(path, 2**34)
        with pytest.raises(codec.ObjectCorrupt, match="17179869184 bytes, and at most"):
            await read(files, handle)


class TestKeys:
    async def test_without_the_key_the_error_names_it(self, tmp_path: Path) -> None:
        handle = await file_store(tmp_path).put(b"content")
        other = KeyRing.create("orders.acme", key_id="k2")
        with pytest.raises(codec.MissingKey, match="'k1'"):
            await read(file_store(tmp_path, keys=other), handle)
        disabled = RING.rotated(key_id="k2").disabled("k1")
        with pytest.raises(codec.DisabledKey, match="'k1'"):
            await read(file_store(tmp_path, keys=disabled), handle)
        assert await read(file_store(tmp_path, keys=RING.rotated()), handle) == b"content"

    async def test_another_key_of_that_id_or_another_binding(self, tmp_path: Path) -> None:
        handle = await file_store(tmp_path).put(b"content")
        for ring in (
            KeyRing.create("orders.acme", key_id="k1"),
            KeyRing(binding="orders.evil", keys=RING.keys),
        ):
            with pytest.raises(codec.InvalidFile, match="could not be authenticated with key 'k1'"):
                await read(file_store(tmp_path, keys=ring), handle)

    async def test_a_key_of_another_file_does_not_open_this_one(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handles = [await files.put(b"content") for _ in range(2)]
        one, two = (path for name, path in objects(tmp_path).items() if name.startswith("manifest-"))
        body, _, mac = one.read_bytes().rpartition(b"\n")
        document = json.loads(body) | {"key": json.loads(two.read_bytes().splitlines()[0])["key"]}
        forged = json.dumps(document).encode() + b"\n" + mac
        digest = hashlib.sha256(forged).hexdigest()
        one.with_name(f"manifest-{digest}").write_bytes(forged)
        [handle] = [handle for handle in handles if handle.manifest in one.name]
        with pytest.raises(codec.InvalidFile, match="could not be authenticated"):
            await read(files, dataclasses.replace(handle, manifest=digest))

    async def test_files_written_with_encryption_off(self, tmp_path: Path) -> None:
        handle = await file_store(tmp_path, keys=None).put(b"content")
        assert await read(file_store(tmp_path), handle) == b"content"
        with pytest.raises(codec.PlaintextRefused, match="refuse-plaintext"):
            await read(file_store(tmp_path, refuse_plaintext=True), handle)
        encrypted = await file_store(tmp_path).put(b"content")
        with pytest.raises(codec.InvalidFile, match="encryption off"):
            await read(file_store(tmp_path, keys=None), encrypted)

    async def test_a_key_service_has_wrapped_the_key(self, tmp_path: Path) -> None:
        class Service:
            def __init__(self) -> None:
                self.asked: list[tuple[str, bytes | None]] = []

            def sealing(self, scope: codec.Scope, size: int) -> None:
                return None

            async def fetch_sealing(self, scope: codec.Scope, size: int) -> codec.DataKey:
                return codec.DataKey(
                    id="kms/1", material=RING.active.material, binding="b", wrapped=b"wrapped"
                )

            def opening(self, key_id: str, wrapped: bytes | None, scope: codec.Scope) -> None:
                return None

            async def fetch_opening(
                self, key_id: str, wrapped: bytes | None, scope: codec.Scope
            ) -> codec.DataKey:
                self.asked.append((key_id, wrapped))
                return await self.fetch_sealing(scope, 32)

        service = Service()
        handle = await file_store(tmp_path, keys=service).put(b"content")
        assert await read(file_store(tmp_path, keys=service), handle) == b"content"
        assert service.asked == [("kms/1", b"wrapped")]

    async def test_a_destroyed_key_and_a_forgotten_subject_take_their_files_with_them(
        self, tmp_path: Path
    ) -> None:
        handle = await file_store(tmp_path).put(b"content")
        destroyed = RING.rotated(key_id="k2").destroyed("k1")
        with pytest.raises(codec.DestroyedKey, match="'k1'"):
            await read(file_store(tmp_path, keys=destroyed), handle)

        subjects = SubjectStore((tmp_path / "subjects").as_uri())

        def keys() -> SubjectKeys:
            return SubjectKeys(FixedKeys(RING), subjects, each_workflow, binding="orders.acme")

        scope = codec.Scope(namespace="orders.acme", workflow_id="customer-17")
        handle = await file_store(tmp_path, keys=keys()).put(content_of(3000), scope=scope)
        # Read by another workflow, which its handle has reached.
        assert await read(file_store(tmp_path, keys=keys()), handle) == content_of(3000)
        await keys().forget("customer-17")
        with pytest.raises(codec.ForgottenSubject):
            await read(file_store(tmp_path, keys=keys()), handle)


class TestNamespaces:
    async def test_another_namespace_is_refused_unless_allowed(self, tmp_path: Path) -> None:
        handle = await file_store(tmp_path, namespace="billing.acme").put(b"content")
        with pytest.raises(
            codec.OffloadError, match=r"'billing\.acme', which this client may not read.*readable"
        ):
            await read(file_store(tmp_path), handle)
        assert await read(file_store(tmp_path, readable_namespaces=["billing.acme"]), handle) == b"content"

    @pytest.mark.parametrize("namespace", ["", "..", "a/b", "ä"])
    def test_namespace_without_a_safe_path(self, tmp_path: Path, namespace: str) -> None:
        with pytest.raises(codec.OffloadError, match="cannot name a prefix"):
            file_store(tmp_path, namespace=namespace)


class TestResuming:
    class Crash(Exception):
        pass

    def crash_after(self, count: int) -> Callable[[int, int | None], None]:
        def progress(done: int, total: int | None) -> None:
            if done >= count:
                raise self.Crash

        return progress

    async def crashed(self, folder: Path, content: bytes, **more: Any) -> None:
        with pytest.raises(self.Crash):
            await file_store(folder, **more).put(content, upload="u", progress=self.crash_after(5 * 1024))

    async def test_what_is_there_is_not_sent_again(self, tmp_path: Path) -> None:
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content)
        before = {path: path.stat().st_ino for path in segments(tmp_path)}
        assert 5 <= len(before) < 16
        files = file_store(tmp_path)
        handle = await files.put(content, upload="u")
        after = {path: path.stat().st_ino for path in segments(tmp_path)}
        assert len(after) == 16
        assert before.items() <= after.items()
        assert await read(files, handle) == content
        # Once more, whole: nothing is written, and the handle is the same.
        assert await files.put(io.BytesIO(content), upload="u") == handle
        assert {path: path.stat().st_ino for path in segments(tmp_path)} == after

    async def test_another_namespace_or_upload_is_another_file(self, tmp_path: Path) -> None:
        uris = {
            (await file_store(tmp_path, namespace=namespace).put(b"", upload=upload)).uri
            for namespace in ("a", "b")
            for upload in ("u", "v", None, None)
        }
        assert len(uris) == 8

    async def test_a_source_that_changed_between_attempts_is_found_out(self, tmp_path: Path) -> None:
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content)
        before = len(segments(tmp_path))
        changed = bytes(3000) + content[3000:]
        files = file_store(tmp_path)
        handle = await files.put(changed, upload="u")
        assert await read(files, handle) == changed
        # A segment stands for all before its end: from the change on, none is taken for another.
        assert len(segments(tmp_path)) == before + 16

    @pytest.mark.parametrize("damage", ["cut", "flip", "zero"])
    async def test_a_segment_that_the_crash_has_damaged_is_sent_again(
        self, tmp_path: Path, damage: str
    ) -> None:
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content)
        path = segments(tmp_path)[1]
        stored = path.read_bytes()
        path.write_bytes(
            {"cut": stored[:-1], "flip": stored[:-1] + bytes([stored[-1] ^ 1]), "zero": bytes(len(stored))}[
                damage
            ]
        )
        files = file_store(tmp_path)
        assert await read(files, await files.put(content, upload="u")) == content

    @pytest.mark.parametrize(
        "start",
        [b"", b"{}", b'{"format": "tacit-file-start", "version": 9}', b"x" * 100_000, None],
        ids=range(5),
    )
    async def test_a_start_that_is_of_no_use(self, tmp_path: Path, start: bytes | None) -> None:
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content)
        [path] = [path for name, path in objects(tmp_path).items() if name.startswith("start-")]
        path.unlink() if start is None else path.write_bytes(start)
        files = file_store(tmp_path)
        assert await read(files, await files.put(content, upload="u")) == content

    async def test_keys_that_are_gone_begin_anew(self, tmp_path: Path) -> None:
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content)
        files = file_store(tmp_path, keys=KeyRing.create("orders.acme", key_id="k2"))
        assert await read(files, await files.put(content, upload="u")) == content

    async def test_a_key_that_is_not_active_any_more_gets_no_new_content(self, tmp_path: Path) -> None:
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content)
        files = file_store(tmp_path, keys=RING.rotated(key_id="k2"))
        handle = await files.put(content, upload="u")
        [manifest] = [path for name, path in objects(tmp_path).items() if name.startswith("manifest-")]
        assert json.loads(manifest.read_bytes().splitlines()[0])["key"]["id"] == "k2"
        assert await read(files, handle) == content

    async def test_a_bare_key_is_never_taken_for_an_upload_that_is_encrypted(self, tmp_path: Path) -> None:
        """The store could else choose the key."""
        content = content_of(16 * 1024)
        await self.crashed(tmp_path, content, keys=None)
        files = file_store(tmp_path, refuse_plaintext=True)
        assert await read(files, await files.put(content, upload="u")) == content

    async def test_two_attempts_at_one_time_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """As when a worker that was given up still runs."""
        files = file_store(tmp_path)
        contents = [content_of(16 * 1024), bytes(100) + content_of(16 * 1024), content_of(16 * 1024)]
        handles = await asyncio.gather(*(files.put(content, upload="u") for content in contents))
        assert [await read(files, handle) for handle in handles] == contents

    async def test_a_small_file_is_two_objects(self, tmp_path: Path) -> None:
        await file_store(tmp_path).put(b"content", upload="u")
        assert sorted(name.partition("-")[0] for name in objects(tmp_path)) == ["manifest", "segment"]


class TestFaults:
    async def test_missing_objects_are_named(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handle = await files.put(content_of(3000))
        segments(tmp_path)[1].unlink()
        with pytest.raises(codec.ObjectMissing, match=r"files/../[0-9a-f]{32}/segment-000001-"):
            await read(files, handle)
        with pytest.raises(codec.ObjectMissing, match="manifest-"):
            await read(file_store(tmp_path / "another"), handle)

    async def test_a_store_that_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "v1").write_bytes(b"in the way")
        with pytest.raises(codec.OffloadError, match="could not be written to") as caught:
            await file_store(tmp_path).put(content_of(9000))
        assert "\n" not in str(caught.value)

    async def test_a_disk_that_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = file_store(tmp_path)
        handle = await files.put(content_of(9000))
        write, left = os.write, [3000]

        def until_full(descriptor: int, content: memoryview) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = write(descriptor, content[: left[0]])
            left[0] -= count
            return count

        monkeypatch.setattr(os, "write", until_full)
        with pytest.raises(codec.LocalFileFailed, match="copy cannot be written: No space left"):
            await files.download(handle, tmp_path / "copy")
        assert [path.name for path in tmp_path.iterdir()] == ["v1"]

    async def test_a_target_that_cannot_be_made(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handle = await files.put(b"content")
        with pytest.raises(codec.LocalFileFailed, match="No such file"):
            await files.download(handle, tmp_path / "none" / "copy")

    async def test_progress_reaches_the_end(self, tmp_path: Path) -> None:
        files, up, down = file_store(tmp_path), [], []
        handle = await files.put(content_of(5000), progress=lambda done, total: up.append((done, total)))
        await files.download(
            handle, tmp_path / "copy", progress=lambda done, total: down.append((done, total))
        )
        assert (up[-1], down[-1]) == ((5000, 5000), (5000, 5000))
        assert down == sorted(down)
        assert len(up) == len(down) == 5

    async def test_who_stops_reading_leaves_nothing_running(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handle = await files.put(content_of(16 * 1024))
        async with files.open(handle) as stream:
            await stream.read(10)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_a_cancelled_upload_ends(self, tmp_path: Path) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1024)
                await asyncio.sleep(0)

        task = asyncio.create_task(file_store(tmp_path).put(endless(), upload="u"))
        while not segments(tmp_path):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestMemory:
    async def test_many_transfers_share_what_is_spare(self, tmp_path: Path) -> None:
        files, contents = file_store(tmp_path), [content_of(16 * 1024 + index) for index in range(20)]
        files._budget = Budget(3 * 1024)
        handles = await asyncio.gather(*(files.put(content) for content in contents))
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(files.open(handle)) for handle in handles]
            for stream, content in zip(streams, contents, strict=True):
                assert await stream.read(1) == content[:1]
            rest = await asyncio.gather(*(stream.read() for stream in streams))
        assert [content[1:] for content in contents] == rest
        assert files._budget.left == 3 * 1024

    async def test_what_was_borrowed_is_given_back_after_faults(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        before = files._budget.left
        handle = await files.put(content_of(9000))
        segments(tmp_path)[3].unlink()
        with pytest.raises(codec.ObjectMissing):
            await read(files, handle)
        with pytest.raises(TestResuming.Crash):
            await files.put(content_of(9000), progress=TestResuming().crash_after(1))
        assert files._budget.left == before


class TestInventory:
    async def test_a_file_is_deleted_by_its_handle(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handle = await files.put(content_of(3000), upload="u")
        with pytest.raises(codec.OffloadError, match=r"deletes those of 'billing\.acme' only"):
            await file_store(tmp_path, namespace="billing.acme", readable_namespaces=["orders.acme"]).delete(
                handle
            )
        await files.delete(handle)
        await files.delete(handle)
        assert objects(tmp_path) == {}

    def opened(self, folder: Path) -> OpenStore:
        return open_store(folder.as_uri())

    async def test_files_are_listed_and_deleted(self, tmp_path: Path) -> None:
        files = file_store(tmp_path)
        handles = [await files.put(content_of(size), upload=str(size)) for size in (0, 5000)]
        with pytest.raises(TestResuming.Crash):
            await files.put(content_of(9000), upload="half", progress=TestResuming().crash_after(5000))
        await file_store(tmp_path, namespace="billing.acme").put(b"other")
        (tmp_path / "v1/ns/orders.acme/files/zz").mkdir()
        (tmp_path / "v1/ns/orders.acme/files/00").mkdir(exist_ok=True)
        for stray in ("zz/stray", "00/stray", "stray"):
            (tmp_path / "v1/ns/orders.acme/files" / stray).write_bytes(b"")
        store = self.opened(tmp_path)
        found = {one.address.uri: one async for one in list_files(store, "orders.acme")}
        assert {handle.uri for handle in handles} <= set(found)
        assert sorted(one.complete for one in found.values()) == [False, True, True]
        large = found[handles[1].uri]
        # A start, five segments, a manifest.
        assert large.objects == 7
        assert large.size > 5000
        assert large.modified.timestamp() == pytest.approx(segments(tmp_path)[0].stat().st_mtime, abs=30)
        assert await delete_file(store, large.address) == 7
        assert await delete_file(store, large.address) == 0
        with pytest.raises(codec.ObjectMissing):
            await read(files, handles[1])
        assert await read(files, handles[0]) == b""
        assert len([one async for one in list_files(store, "orders.acme")]) == 2
        assert [one async for one in list_files(store, "nobody.acme")] == []

    def test_addresses_are_found_in_payloads(self) -> None:
        one, two = FileAddress("orders.acme", "a" * 32), FileAddress("b", "0" * 32)
        text = json.dumps(
            {"film": {"uri": one.uri}, "more": [two.uri, one.uri, one.uri + "0", "tacit-file:v1:x:00"]}
        )
        assert list(find_addresses(text.encode())) == [one, two, one]
