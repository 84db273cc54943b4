"""File handles through workflows of a real service, by workers that may be killed at any moment."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import codec
import sdk
from codec import KeyRing, create_key_ring, open_store
from codec.storage.gc_run import Options, Source, collect
from codec.storage.gc_store import GcStore
from sdk import files
from sdk.converter import options_of
from sdk.settings import CodecSettings
from tests.codec.files_worker import Cinema, Film, Order, Reader, render
from tests.processes import Server, python_module, tacit_dev

MEBIBYTE = 1024 * 1024
SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = tacit_dev(tmp_path_factory.mktemp("service"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def profile(service: Server, tmp_path: Path) -> sdk.Profile:
    return write_profile(tmp_path, service.address, object_store=(tmp_path / "objects").as_uri())


def write_profile(folder: Path, address: str, **settings: object) -> sdk.Profile:
    create_key_ring(folder / "ring.json", KeyRing.create("default"))
    sdk.write_profile(
        folder / "temporal.toml",
        "default",
        address=address,
        namespace="default",
        tls=False,
        codec=CodecSettings(key_ring=folder / "ring.json", **settings),  # type: ignore[arg-type]
    )
    return sdk.load_profile("default", config_file=folder / "temporal.toml", environment={})


def worker(profile: sdk.Profile, queue: str) -> Server:
    return python_module(
        "tests.codec.files_worker",
        queue,
        log=profile.config_file.with_name("worker.log"),
        env={"TEMPORAL_CONFIG_FILE": str(profile.config_file), "TEMPORAL_PROFILE": "default"},
    )


def segments(folder: Path) -> dict[str, int]:
    """Names of the segments that are there, and which files on the disk they are."""
    return {path.name: path.stat().st_ino for path in folder.rglob("segment-*") if "#" not in path.name}


async def test_a_killed_upload_goes_on_where_it_was(profile: sdk.Profile, tmp_path: Path) -> None:
    source, target = tmp_path / "source.bin", tmp_path / "target.bin"
    source.write_bytes(os.urandom(48 * MEBIBYTE + 17))
    queue = f"files-{uuid.uuid4()}"
    client = await sdk.connect(profile)
    first, second = worker(profile, queue), worker(profile, queue)
    first.start()
    try:
        order = Order(str(source), str(target), pause=0.05)
        handle = await client.start_workflow(Cinema.run, order, id=queue, task_queue=queue)
        async with asyncio.timeout(SECONDS_MAX):
            while len(segments(tmp_path / "objects")) < 3:
                first.check()
                await asyncio.sleep(0.02)
            first.kill()
            before = segments(tmp_path / "objects")
            assert 3 <= len(before) < 7
            second.start()
            film = await handle.result()
    finally:
        first.kill()
        second.kill()
    assert isinstance(film, Film)
    assert target.read_bytes() == source.read_bytes()
    assert film.content.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    # Nothing was sent twice, and nothing of the first attempt was thrown away; the other segment is the trailer's.
    after = segments(tmp_path / "objects")
    assert len(after) == 7 + 1
    assert before.items() <= after.items()
    # A client that is no activity reads it, too, and the handle names it wherever it goes.
    [trailer] = film.trailers
    async with files.of(client).open(trailer) as stream:
        assert await stream.read() == b"trailer"
    assert (trailer.name, trailer.content_type) == ("trailer.txt", "text/plain")
    history = (await handle.fetch_history()).to_json()
    assert "tacit-file" not in history
    assert film.content.uri.rpartition(":")[2] not in history


async def test_a_workflow_passes_handles_on_and_reads_none(profile: sdk.Profile, tmp_path: Path) -> None:
    queue = f"files-{uuid.uuid4()}"
    client = await sdk.connect(profile)
    own = files.of(client)
    handle = await own.put(b"content", name="a.txt")
    process = worker(profile, queue)
    process.start()
    try:
        film = Film("title", handle, [handle])
        running = client.execute_workflow(Reader.run, film, id=queue, task_queue=queue)
        said = await asyncio.wait_for(running, SECONDS_MAX)
        assert said.startswith("A workflow has no files, only their handles")
        assert said.endswith("ont")
        # The whole way with a path: no pause, no target.
        source = tmp_path / "source.json"
        source.write_bytes(b"x" * 3 * MEBIBYTE)
        running_too = client.execute_workflow(Cinema.run, Order(str(source)), id=queue, task_queue=queue)
        film = await asyncio.wait_for(running_too, SECONDS_MAX)
        assert (film.content.name, film.content.content_type) == ("source.json", "application/json")
        lost = client.start_workflow(Cinema.run, Order(str(tmp_path / "none")), id=queue, task_queue=queue)
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for((await lost).result(), SECONDS_MAX)
    finally:
        process.kill()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Server]:
    """One whose payloads are all under one key ring."""
    server = tacit_dev(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_a_collection_keeps_what_a_workflow_names(own_service: Server, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, own_service.address, object_store=(tmp_path / "objects").as_uri())
    queue = f"files-{uuid.uuid4()}"
    client = await sdk.connect(profile)
    own = files.of(client)
    named, orphan = await own.put(b"named", upload="a"), await own.put(b"orphan")
    film = Film("title", named, [])
    waiting = await client.start_workflow(Reader.run, film, id=queue, task_queue=queue)
    converter = sdk.data_converter(options_of(profile))

    async def opened(payload: Payload) -> Payload:
        assert converter.payload_codec is not None
        return (await converter.payload_codec.decode([payload]))[0]

    store = GcStore(open_store((tmp_path / "objects").as_uri()), "default", files=True)
    source = Source(service=client.workflow_service, namespace="default", store=store, opened=opened)
    soon = datetime.now(UTC) + timedelta(days=30)
    for moment in (soon, soon + timedelta(days=30)):
        options = Options(delete=True, accept_unknown_readers=True)
        [found] = await collect([source], options, clock=lambda moment=moment: moment)
    assert found.deleted.objects == 2
    async with own.open(named) as stream:
        assert await stream.read() == b"named"
    with pytest.raises(codec.ObjectMissing):
        async with own.open(orphan):
            pass
    await waiting.terminate()


class TestWithoutAStore:
    async def test_the_profile_is_named(self, service: Server, tmp_path: Path) -> None:
        profile = write_profile(tmp_path, service.address)
        with pytest.raises(
            sdk.FilesUnavailable, match=r"Profile 'default' names no object store.*tacit\.toml"
        ):
            files.open_files(profile)
        client = await sdk.connect(profile)
        with pytest.raises(sdk.FilesUnavailable, match="names an object store"):
            files.of(client)

    async def test_an_activity_is_not_tried_again(self, tmp_path: Path) -> None:
        async def attempt() -> None:
            await files.put(b"content")

        with pytest.raises(ApplicationError, match=r"object-store in tacit\.toml") as caught:
            await ActivityEnvironment().run(attempt)
        assert caught.value.non_retryable
        assert caught.value.type == "FilesUnavailable"
        assert isinstance(caught.value, sdk.FilesUnavailable)
        profile = write_profile(tmp_path, "127.0.0.1:1")
        with pytest.raises(ApplicationError, match="'default' names no object store"):
            ActivityEnvironment().run(files.open_files, profile)

    async def test_outside_of_activities(self) -> None:
        with pytest.raises(sdk.FilesUnavailable, match=r"files\.open_files\(profile\)"):
            await files.put(b"content")


class TestActivitiesAlone:
    """Activities are tested without a service, too."""

    async def test_two_attempts_are_one_upload_and_two_activities_are_not(self, tmp_path: Path) -> None:
        profile = write_profile(tmp_path, "127.0.0.1:1", object_store=(tmp_path / "objects").as_uri())
        own = files.open_files(profile)
        source = tmp_path / "source.bin"
        source.write_bytes(bytes(1000))
        uris = []
        for changes in (
            {"attempt": 1},
            {"attempt": 2},
            {"activity_id": "other"},
            {"workflow_run_id": "other"},
            {"workflow_id": "other"},
        ):
            environment = ActivityEnvironment()
            environment.info = dataclasses.replace(environment.info, **changes)  # type: ignore[arg-type]
            with files.using(own):
                film = await environment.run(render, Order(str(source)))
            uris.append(film.content.uri)
        assert uris[0] == uris[1]
        assert len(set(uris)) == 4

    async def test_two_files_of_one_activity_are_two(self, tmp_path: Path) -> None:
        own = files.open_files(
            write_profile(tmp_path, "127.0.0.1:1", object_store=(tmp_path / "objects").as_uri())
        )

        async def both() -> list[files.FileHandle]:
            return [await files.put(b"one"), await files.put(b"two"), await files.put(b"two", name="b")]

        with files.using(own):
            handles = await ActivityEnvironment().run(both)
        assert len({handle.uri for handle in handles}) == 3


async def test_encryption_off_is_said_by_the_profile(tmp_path: Path) -> None:
    store = (tmp_path / "objects").as_uri()
    plain = sdk.DataConverterOptions(namespace="default", key_ring=None, object_store=store)
    ring = KeyRing.create("default")
    sealed = dataclasses.replace(plain, key_ring=ring, refuse_plaintext=True)
    handle = await files.Files(plain).put(b"content")
    async with files.Files(dataclasses.replace(sealed, refuse_plaintext=False)).open(handle) as stream:
        assert await stream.read() == b"content"
    with pytest.raises(codec.PlaintextRefused):
        async with files.Files(sealed).open(handle):
            pass
    assert "objects" in repr(files.Files(plain))
