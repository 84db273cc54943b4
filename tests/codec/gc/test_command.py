"""`tacit codec gc`, as a person runs it, with a key ring, a directory as store, and files."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

import codec
import sdk
from codec import KeyRing, create_key_ring
from codec.storage.gc import Memory
from sdk import files
from sdk.settings import CodecSettings
from tests.processes import BIN, Server, clean_environment, tacit, tacit_dev

AGE = timedelta(days=60)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = tacit_dev(tmp_path_factory.mktemp("dev"))
    server.start()
    yield server
    server.stop()


class Place:
    """A profile with a key ring and a directory as object store."""

    def __init__(self, folder: Path, address: str) -> None:
        self.objects = folder / "objects"
        create_key_ring(folder / "ring.json", KeyRing.create("default"))
        self.config = folder / "temporal.toml"
        sdk.write_profile(
            self.config,
            "default",
            address=address,
            namespace="default",
            tls=False,
            codec=CodecSettings(
                key_ring=folder / "ring.json", object_store=self.objects.as_uri(), compression=False
            ),
        )
        self.profile = sdk.load_profile(config_file=self.config, environment={})
        self.environment = {"TEMPORAL_CONFIG_FILE": str(self.config)}

    def gc(self, *arguments: str) -> dict[str, Any]:
        [found] = tacit("codec", "gc", *arguments, env=self.environment)["namespaces"]
        return found  # type: ignore[no-any-return]

    def fails(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [BIN / "tacit", "codec", "gc", *arguments],
            capture_output=True,
            text=True,
            env=clean_environment() | self.environment,
            check=False,
        )
        return done.returncode, done.stderr

    def payloads(self) -> set[Path]:
        return {path for path in self.objects.glob("v1/ns/*/sha256/*/*/*") if path.is_file()}

    def stored_files(self) -> set[str]:
        return {path.parent.name for path in self.objects.glob("v1/ns/*/files/*/*/*")}

    def age(self) -> None:
        """Make all that lies there as if it had been written long ago; what is referred to keeps its name."""
        then = time.time() - AGE.total_seconds()
        for path in self.objects.rglob("*"):
            if path.is_file():
                os.utime(path, (then, then))

    def orphan(self) -> Path:
        """A payload of long ago that nothing points to."""
        day = (datetime.now(UTC) - AGE).date().isoformat()
        name = os.urandom(32).hex()
        path = self.objects / "v1/ns/default/sha256" / day / name[:2] / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 1000)
        self.age()
        return path

    def let_a_grace_period_go_by(self) -> None:
        path = self.objects / "v1/ns/default/gc/marks"
        memory = Memory.of(path.read_bytes())
        assert memory.marks
        memory.marks = {key: replace(mark, marked=mark.marked - AGE) for key, mark in memory.marks.items()}
        path.write_bytes(memory.to_bytes())


async def started(place: Place, *arguments: object) -> WorkflowHandle[Any, Any]:
    client = await sdk.connect(place.profile)
    queue = uuid.uuid4().hex
    return await client.start_workflow("Any", args=list(arguments), id=queue, task_queue=queue)


async def test_payloads_and_files_go_in_two_phases(service: Server, tmp_path: Path) -> None:
    place = Place(tmp_path, service.address)
    stored = files.open_files(place.profile)
    in_use, in_a_payload, unused = [await stored.put(os.urandom(1000), name="f") for _ in range(3)]
    handle = await started(place, "x" * 400_000, in_use)
    # A handle within an offloaded payload.
    other = await started(place, ["y" * 400_000, in_a_payload])
    orphan = place.orphan()
    before = place.payloads()
    assert len(before) == 3

    dry = place.gc("--files")
    assert dry["newly_marked"]["objects"] >= 2
    assert not (place.objects / "v1/ns/default/gc").exists()
    marked = place.gc("--files", "--delete")
    assert (marked["deleted"]["objects"], marked["newly_marked"]) == (0, dry["newly_marked"])
    assert place.gc("--files", "--delete")["deleted"]["objects"] == 0
    assert place.payloads() == before
    place.let_a_grace_period_go_by()
    # Without the keys files stay, and so do their marks.
    done = place.gc("--delete")
    assert done["deleted"] == {"objects": 1, "bytes": 1000}
    assert place.payloads() == before - {orphan}
    assert len(place.stored_files()) == 3
    done = place.gc("--files", "--delete")
    assert done["deleted"]["objects"] >= 1
    assert len(place.stored_files()) == 2
    with pytest.raises(codec.CodecError):
        await (await stored.open(unused).__aenter__()).read()
    for one in (in_use, in_a_payload):
        async with stored.open(one) as stream:
            assert len(await stream.read()) == 1000
    for run in (handle, other):
        history = await run.fetch_history()
        payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
        client = await sdk.connect(place.profile)
        assert await client.data_converter.decode(payloads)
        await run.terminate()


async def test_a_missing_key_stops_a_search_for_files(service: Server, tmp_path: Path) -> None:
    place = Place(tmp_path, service.address)
    handle = await started(place, "small")
    place.orphan()
    (tmp_path / "ring.json").unlink()
    create_key_ring(tmp_path / "ring.json", KeyRing.create("default"))
    code, said = place.fails("--files")
    assert code == 1
    assert "has a payload that can't be opened, which may name files" in said
    assert place.gc()["newly_marked"]["objects"] == 1
    await handle.terminate()


def test_misuse_and_faults_are_told(service: Server, tmp_path: Path) -> None:
    place = Place(tmp_path, service.address)
    assert place.fails("--grace", "10m")[0] == 2
    assert place.fails("--grace", "soon")[0] == 2
    code, said = place.fails("--profile", "nobody")
    assert (code, "There is no profile 'nobody'" in said) == (1, True)
    settings = replace(place.profile.codec, object_store=None)
    sdk.write_settings(place.config, "default", settings)
    code, said = place.fails()
    assert (code, "None of the profiles has an object store" in said) == (1, True)


def test_people_are_told_what_happens_next(service: Server, tmp_path: Path) -> None:
    place = Place(tmp_path, service.address)
    place.orphan()
    shown = subprocess.run(
        [BIN / "tacit", "codec", "gc", "--delete"],
        capture_output=True,
        text=True,
        env=clean_environment() | place.environment,
        check=True,
    )
    assert "1 objects are marked; run this again after" in shown.stderr
    assert "Files of handles are kept" in shown.stderr
    assert "newly marked" in shown.stdout
