"""Keys per subject: whose key a payload is under, that forgetting one forgets all of it, and what many at once may do."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from codec import (
    ANYONE,
    EncryptionCodec,
    EnvelopeKeys,
    FixedKeys,
    ForgottenSubject,
    InvalidPayload,
    KeyRing,
    KeyRingError,
    KeyServiceUnavailable,
    MissingKey,
    NoSubject,
    Scope,
    SubjectKeys,
    SubjectStore,
    by_pattern,
    create_key_ring,
    each_workflow,
)
from codec.keys.provider import DataKey, Keys
from tests.codec.key_services import Clock, MemoryKeyService
from tests.object_stores import S3

BINDING = "orders.acme"
PAYLOAD = Payload(metadata={"encoding": b"json/plain"}, data=b'"a secret of the customer"')
CUSTOMERS = by_pattern(r"(customer-[0-9]+)-")

Open = Callable[[], SubjectStore]


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "directory":
        return lambda: SubjectStore(f"file://{tmp_path}/subjects")
    s3: S3 = request.getfixturevalue("s3")
    bucket = s3.bucket()
    return lambda: SubjectStore(f"{bucket.url}/subjects", bucket.options)


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.create(BINDING, key_id="k1")


def worker(
    store: Open, keys: KeyRing | Keys, *, clock: Clock | None = None, binding: str = BINDING
) -> SubjectKeys:
    """What one worker has: nothing in common with the others but the store and the ring."""
    held = FixedKeys(keys) if isinstance(keys, KeyRing) else keys
    return SubjectKeys(held, store(), CUSTOMERS, binding=binding, clock=clock or Clock())


def of(workflow_id: str | None) -> Scope:
    return Scope(namespace="orders", workflow_id=workflow_id)


async def seal(keys: Keys, workflow_id: str | None) -> DataKey:
    return keys.sealing(of(workflow_id), 1) or await keys.fetch_sealing(of(workflow_id), 1)


async def unseal(keys: Keys, key: DataKey) -> DataKey:
    return keys.opening(key.id, key.wrapped, ANYONE) or await keys.fetch_opening(key.id, key.wrapped, ANYONE)


@pytest.mark.parametrize(
    ("subject_of", "workflow_id", "subject"),
    [
        (each_workflow, "w1", "w1"),
        (each_workflow, None, None),
        (CUSTOMERS, "customer-17-order-4", "customer-17"),
        (CUSTOMERS, "customer-17", None),
        (CUSTOMERS, "order-of-customer-17-x", None),
        (by_pattern("[a-z]+"), "abc-1", "abc"),
        (by_pattern("(x)?abc"), "abc", None),
        (CUSTOMERS, None, None),
    ],
)
def test_whose_data_it_is(
    subject_of: Callable[[Scope], str | None], workflow_id: str | None, subject: str | None
) -> None:
    assert subject_of(of(workflow_id)) == subject


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(KeyRingError, match="no regular expression"):
        by_pattern("(")


async def test_each_subject_has_a_key_and_all_workers_the_same(store: Open, ring: KeyRing) -> None:
    first, second = worker(store, ring), worker(store, ring)
    one = await seal(first, "customer-1-a")
    assert (await seal(second, "customer-1-b")).id == one.id
    assert (await seal(second, "customer-1-b")).material.same_as(one.material)
    other = await seal(second, "customer-2-a")
    assert other.id != one.id
    assert not other.material.same_as(one.material)
    assert (await unseal(second, one)).material.same_as(one.material)
    assert (await seal(first, "internal-report")).id == "k1"
    assert (await seal(first, None)).id == "k1"
    assert "customer" not in one.id


@pytest.mark.parametrize("workflow_id", [None, "", "internal-report"])
async def test_nothing_that_is_nobodys_where_each_must_be_somebodys(
    store: Open, ring: KeyRing, workflow_id: str | None
) -> None:
    keys = SubjectKeys(FixedKeys(ring), store(), CUSTOMERS, binding=BINDING, required=True)
    for call in (seal(keys, workflow_id), keys.fetch_sealing(of(workflow_id), 1)):
        with pytest.raises(NoSubject, match="could not be forgotten with one, and is not encrypted"):
            await call
    assert (await seal(keys, "customer-1-a")).id.startswith("subject/")
    # What was written before is read all the same.
    assert (await keys.fetch_opening("k1", None, ANYONE)).id == "k1"


async def test_payloads_are_read_wherever_they_go(store: Open, ring: KeyRing) -> None:
    """A parent's worker writes a child's input: under the child's subject; the child's result is read by the parent."""
    parent = EncryptionCodec(worker(store, ring))
    child = EncryptionCodec(worker(store, ring))
    for_child = parent.with_context(
        WorkflowSerializationContext(namespace="orders", workflow_id="customer-2-child")
    )
    sealed = await for_child.encode([PAYLOAD])
    in_child = child.with_context(
        WorkflowSerializationContext(namespace="orders", workflow_id="customer-2-child")
    )
    assert await in_child.decode(sealed) == [PAYLOAD]
    elsewhere = child.with_context(
        WorkflowSerializationContext(namespace="orders", workflow_id="customer-1-parent")
    )
    assert await elsewhere.decode(sealed) == [PAYLOAD]
    assert await child.decode(sealed) == [PAYLOAD]


async def test_forgetting_one_forgets_that_one(store: Open, ring: KeyRing) -> None:
    keys = worker(store, ring)
    codec = EncryptionCodec(keys)
    sealed = {}
    for customer in ("customer-1", "customer-2"):
        context = WorkflowSerializationContext(namespace="orders", workflow_id=f"{customer}-a")
        sealed[customer] = await codec.with_context(context).encode([PAYLOAD])
    done = await worker(store, ring).forget("customer-1")
    assert done.known
    # One who has all that the service has, the key ring, and what is in the store now.
    later = EncryptionCodec(worker(store, ring))
    with pytest.raises(
        ForgottenSubject, match=r"subject/[0-9a-f]{32}/1 was forgotten 20.*unreadable for ever"
    ):
        await later.decode(sealed["customer-1"])
    assert await later.decode(sealed["customer-2"]) == [PAYLOAD]
    again = await worker(store, ring).forget("customer-1")
    assert (again.known, again.key_id, again.forgotten) == (False, done.key_id, done.forgotten)


async def test_a_worker_that_has_the_key_forgets_it_soon(store: Open, ring: KeyRing) -> None:
    clock = Clock()
    running = worker(store, ring, clock=clock)
    key = await seal(running, "customer-1-a")
    await unseal(running, key)
    await worker(store, ring).forget("customer-1")
    clock.now += 61
    with pytest.raises(ForgottenSubject):
        await unseal(running, key)
    with pytest.raises(ForgottenSubject, match=r"new data of it is refused.*--allow-new"):
        await seal(running, "customer-1-a")


async def test_who_forgets_has_forgotten_at_once(store: Open, ring: KeyRing) -> None:
    keys = worker(store, ring)
    key = await seal(keys, "customer-1-a")
    await unseal(keys, key)
    await keys.forget("customer-1")
    with pytest.raises(ForgottenSubject):
        await unseal(keys, key)


async def test_a_subject_may_come_back_and_what_was_forgotten_stays_so(store: Open, ring: KeyRing) -> None:
    old = await seal(worker(store, ring), "customer-1-a")
    await worker(store, ring).forget("customer-1")
    with pytest.raises(ForgottenSubject):
        await seal(worker(store, ring), "customer-1-b")
    await worker(store, ring).forget("customer-1", admit=True)
    workers = [worker(store, ring) for _ in range(4)]
    new = await asyncio.gather(*(seal(one, "customer-1-b") for one in workers))
    assert len({key.id for key in new}) == 1
    assert new[0].id == old.id.removesuffix("1") + "2"
    assert all(key.material.same_as(new[0].material) for key in new)
    with pytest.raises(ForgottenSubject):
        await unseal(worker(store, ring), old)
    assert (await unseal(worker(store, ring), new[0])).material.same_as(new[0].material)


async def test_forgotten_ahead(store: Open, ring: KeyRing) -> None:
    assert not (await worker(store, ring).forget("customer-9")).known
    with pytest.raises(ForgottenSubject):
        await seal(worker(store, ring), "customer-9-a")


async def test_many_at_once_make_one_key(store: Open, ring: KeyRing) -> None:
    workers = [worker(store, ring) for _ in range(8)]
    keys = await asyncio.gather(*(seal(one, "customer-1-a") for one in workers for _ in range(5)))
    assert all(key.material.same_as(keys[0].material) for key in keys)


PROCESS = """
import asyncio, sys
from pathlib import Path
from codec import FixedKeys, Scope, SubjectKeys, SubjectStore, each_workflow, load_key_ring

async def main():
    ring = load_key_ring(Path(sys.argv[1]))
    keys = SubjectKeys(FixedKeys(ring), SubjectStore(sys.argv[2]), each_workflow, binding="a")
    for number in range(30):
        key = await keys.fetch_sealing(Scope(workflow_id=f"w{number}"), 1)
        print(key.id, key.material.reveal().hex())

asyncio.run(main())
"""


def test_processes_at_once_agree(tmp_path: Path) -> None:
    create_key_ring(tmp_path / "ring.json", KeyRing.create("a"))
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "ring.json"), f"file://{tmp_path}/store"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    printed = {process.communicate(timeout=90)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 3
    assert len(printed) == 1
    assert len(printed.pop().splitlines()) == 30


async def test_forgetting_and_resealing_at_once_forgets(store: Open, ring: KeyRing) -> None:
    rotated = ring.rotated(key_id="k2")
    key = await seal(worker(store, ring), "customer-1-a")
    resealing = worker(store, rotated)
    exchange = resealing._store.exchange

    async def slow(*arguments: object) -> bool:
        await worker(store, ring).forget("customer-1")
        return await exchange(*arguments)  # type: ignore[arg-type]

    resealing._store.exchange = slow  # type: ignore[method-assign,assignment]
    assert await resealing.reseal() == (1, 0)
    with pytest.raises(ForgottenSubject):
        await unseal(worker(store, rotated), key)


async def test_forgetting_one_who_comes_back_meanwhile(store: Open, ring: KeyRing) -> None:
    """A forgotten subject comes back between the two steps of forgetting it again: the new key is forgotten, too."""
    await seal(worker(store, ring), "customer-1-a")
    await worker(store, ring).forget("customer-1", admit=True)
    forgetting = worker(store, ring)
    read, came_back = forgetting._store.read, list[DataKey]()

    async def slow(index: str) -> object:
        found = await read(index)
        if not came_back:
            came_back.append(await seal(worker(store, ring), "customer-1-b"))
        return found

    forgetting._store.read = slow  # type: ignore[method-assign,assignment]
    done = await forgetting.forget("customer-1")
    assert (done.known, done.key_id) == (True, came_back[0].id)
    with pytest.raises(ForgottenSubject):
        await unseal(worker(store, ring), came_back[0])
    # No name is given to two keys.
    await forgetting.forget("customer-1", admit=True)
    again = await seal(worker(store, ring), "customer-1-c")
    assert again.id.endswith("/3")
    with pytest.raises(ForgottenSubject):
        await unseal(worker(store, ring), came_back[0])


async def test_resealed_keys_need_the_old_key_no_more(store: Open, ring: KeyRing) -> None:
    keys = [await seal(worker(store, ring), f"customer-{number}-a") for number in range(3)]
    await worker(store, ring).forget("customer-2")
    rotated = ring.rotated(key_id="k2")
    assert await worker(store, rotated).sealed_by("k1") == 2
    assert await worker(store, rotated).reseal() == (2, 2)
    assert await worker(store, rotated).reseal() == (2, 0)
    without = rotated.destroyed("k1")
    assert await worker(store, without).sealed_by("k1") == 0
    for key in keys[:2]:
        assert (await unseal(worker(store, without), key)).material.same_as(key.material)


async def test_a_key_service_seals_them_too(store: Open) -> None:
    service = MemoryKeyService()
    key = await seal(worker(store, EnvelopeKeys(service, binding=BINDING)), "customer-1-a")
    found = await unseal(worker(store, EnvelopeKeys(service, binding=BINDING)), key)
    assert found.material.same_as(key.material)
    assert found.wrapped is None


async def test_the_rings_faults_are_told(store: Open, ring: KeyRing) -> None:
    key = await seal(worker(store, ring), "customer-1-a")
    with pytest.raises(MissingKey, match="'k1'"):
        await unseal(worker(store, KeyRing.create(BINDING, key_id="k9")), key)
    with pytest.raises(KeyRingError, match=r"can't be opened with key 'k1' and this binding"):
        await unseal(worker(store, dataclasses.replace(ring, binding="other")), key)


@pytest.mark.parametrize(
    "key_id",
    [
        "subject/" + "0" * 32 + "/1",
        "subject/../../etc",
        "subject/",
        "subject/" + "0" * 32 + "/0",
        "subject/" + "0" * 33 + "/1",
    ],
)
async def test_a_name_that_is_none_is_a_missing_key(store: Open, ring: KeyRing, key_id: str) -> None:
    keys = worker(store, ring)
    with pytest.raises(MissingKey, match="store of subjects' keys"):
        await keys.fetch_opening(key_id, None, ANYONE)


async def test_a_generation_that_never_was(store: Open, ring: KeyRing) -> None:
    key = await seal(worker(store, ring), "customer-1-a")
    with pytest.raises(MissingKey):
        await worker(store, ring).fetch_opening(key.id[:-1] + "7", None, ANYONE)


@pytest.mark.parametrize("subject", ["", "x" * 1001])
async def test_a_subject_that_can_not_be(store: Open, ring: KeyRing, subject: str) -> None:
    with pytest.raises(KeyRingError, match="A subject has 1 to 1000 characters"):
        await worker(store, ring).forget(subject)


class TestDirectory:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "subjects"

    @pytest.fixture
    def store(self, folder: Path) -> Open:
        return lambda: SubjectStore(f"file://{folder}")

    def record(self, folder: Path) -> Path:
        (path,) = (folder / "v1" / "subjects").glob("*/*.json")
        return path

    async def test_nothing_readable_lies_there(self, store: Open, ring: KeyRing, folder: Path) -> None:
        key = await seal(worker(store, ring), "customer-1-a")
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"customer" not in content
                assert key.material.reveal() not in content
                assert key.material.reveal().hex().encode() not in content

    async def test_forgetting_overwrites_the_disk(self, store: Open, ring: KeyRing, folder: Path) -> None:
        await seal(worker(store, ring), "customer-1-a")
        with self.record(folder).open("rb") as before:
            await worker(store, ring).forget("customer-1")
            assert set(before.read()) == {0}
        assert json.loads(self.record(folder).read_bytes())["state"] == "forgotten"

    async def test_altered_or_cut_anywhere_is_an_error(
        self, store: Open, ring: KeyRing, folder: Path
    ) -> None:
        key = await seal(worker(store, ring), "customer-1-a")
        path = self.record(folder)
        content = path.read_bytes()
        for at in range(0, len(content), 3):
            for altered in (content[:at], content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]):
                path.write_bytes(altered)
                try:
                    found = await unseal(worker(store, ring), key)
                except (KeyRingError, MissingKey, ForgottenSubject, InvalidPayload):
                    continue
                # What does not matter (the time it was made) may be altered; the key is the right one.
                assert found.material.same_as(key.material)

    async def test_records_in_one_anothers_place_are_an_error(
        self, store: Open, ring: KeyRing, folder: Path
    ) -> None:
        await seal(worker(store, ring), "customer-1-a")
        first = self.record(folder)
        content = json.loads(first.read_bytes())
        second = await seal(worker(store, ring), "customer-2-a")
        index = second.id.split("/")[1]
        (folder / "v1" / "subjects" / index[:2] / f"{index}.json").write_text(
            json.dumps(content | {"id": index})
        )
        with pytest.raises(KeyRingError, match="can't be opened with key 'k1'"):
            await unseal(worker(store, ring), second)

    async def test_a_newer_format_is_told(self, store: Open, ring: KeyRing, folder: Path) -> None:
        key = await seal(worker(store, ring), "customer-1-a")
        path = self.record(folder)
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"version": 2}))
        with pytest.raises(KeyRingError, match=r"format version 2.*newer Tacit"):
            await unseal(worker(store, ring), key)
        (folder / "v1" / "store.json").write_text("{}")
        with pytest.raises(KeyRingError, match=r"store.json in .* is cut, damaged or of a newer Tacit"):
            await seal(worker(store, ring), "customer-1-a")

    async def test_an_outage_of_the_store(self, store: Open, ring: KeyRing, folder: Path) -> None:
        clock = Clock()
        keys = worker(store, ring, clock=clock)
        key = await seal(keys, "customer-1-a")
        away = folder.rename(folder.with_name("away"))
        folder.write_text("not a directory")
        clock.now += 61
        assert (await seal(keys, "customer-1-b")).id == key.id
        clock.now += 3600
        with pytest.raises(KeyServiceUnavailable, match="could not be read"):
            await seal(keys, "customer-1-b")
        folder.unlink()
        away.rename(folder)
        assert (await seal(keys, "customer-1-b")).id == key.id
