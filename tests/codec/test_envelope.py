"""Envelope encryption: what is asked of a key service, when, and what happens while it is slow, down or refuses."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from codec import (
    ANYONE,
    DataKey,
    EncryptionCodec,
    EnvelopeBounds,
    EnvelopeKeys,
    InvalidPayload,
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceUnavailable,
    MissingKey,
    Patience,
    WrappedKey,
    WriteFormat,
)
from tests.codec.key_services import Clock, MemoryKeyService, until

PAYLOAD = Payload(metadata={"encoding": b"json/plain"}, data=b'"a secret of the customer"')
DOWN = KeyServiceUnavailable("memory:orders", "is down")
DENIED = KeyServiceDenied("memory:orders", "AccessDenied")
QUICK = Patience(attempt_seconds=0.2, attempts=3, total_seconds=0.5, backoff_seconds_max=0.01)


@pytest.fixture
def service() -> MemoryKeyService:
    return MemoryKeyService()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(service: MemoryKeyService, clock: Clock) -> Callable[..., EnvelopeKeys]:
    def build(**bounds: Any) -> EnvelopeKeys:
        return EnvelopeKeys(
            service, binding="orders.acme", bounds=EnvelopeBounds(**bounds), patience=QUICK, clock=clock
        )

    return build


async def seal(keys: EnvelopeKeys, size: int = 1) -> DataKey:
    return keys.sealing(ANYONE, size) or await keys.fetch_sealing(ANYONE, size)


async def unseal(keys: EnvelopeKeys, key: DataKey) -> DataKey:
    return keys.opening(key.id, key.wrapped, ANYONE) or await keys.fetch_opening(key.id, key.wrapped, ANYONE)


@pytest.mark.parametrize("write_format", list(WriteFormat))
async def test_payloads_go_and_come(
    make: Callable[..., EnvelopeKeys], service: MemoryKeyService, write_format: WriteFormat
) -> None:
    sealed = (await EncryptionCodec(make(), write_format=write_format).encode([PAYLOAD]))[0]
    assert sealed.metadata["encryption-key-id"] == b"memory:orders"
    assert base64.b64decode(sealed.metadata["encryption-dek"], validate=True)
    assert b"secret" not in sealed.SerializeToString()
    elsewhere = EncryptionCodec(make())
    assert await elsewhere.decode([sealed]) == [PAYLOAD]
    assert await elsewhere.decode([sealed] * 5) == [PAYLOAD] * 5
    assert service.unwrapped == 1


async def test_what_was_written_here_is_read_without_the_service(
    make: Callable[..., EnvelopeKeys], service: MemoryKeyService
) -> None:
    codec = EncryptionCodec(make())
    assert await codec.decode(await codec.encode([PAYLOAD])) == [PAYLOAD]
    assert (service.generated, service.unwrapped) == (1, 0)


class TestSealing:
    async def test_one_data_key_serves_many(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        keys = make()
        service.delay_seconds = 0.05
        used = await asyncio.gather(*(seal(keys) for _ in range(200)))
        assert {key.wrapped for key in used} == {used[0].wrapped}
        assert service.generated == 1

    def test_event_loops_in_threads_share_one_fetch(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        keys, used = make(), []
        service.delay_seconds = 0.1
        threads = [
            threading.Thread(target=lambda: used.append(asyncio.run(seal(keys)).wrapped)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(used) == 8
        assert len(set(used)) == 1
        assert service.generated == 1

    async def test_renewed_ahead_of_its_age_while_it_serves(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService, clock: Clock
    ) -> None:
        keys = make(seal_age_seconds=100)
        first = await seal(keys)
        clock.now += 79
        assert keys.sealing(ANYONE, 1) is first
        assert service.generated == 1
        clock.now += 2
        assert keys.sealing(ANYONE, 1) is first
        await until(lambda: keys.sealing(ANYONE, 1) is not first)
        assert service.generated == 2

    @pytest.mark.parametrize("bounds", [{"seal_messages": 10}, {"seal_bytes": 1000}])
    async def test_renewed_ahead_of_its_use(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService, bounds: dict[str, int]
    ) -> None:
        keys = make(**bounds)
        first = await seal(keys, 100)
        for _ in range(7):
            assert keys.sealing(ANYONE, 100) is first
        assert service.generated == 1
        assert keys.sealing(ANYONE, 100) is first
        await until(lambda: keys.sealing(ANYONE, 0) is not first)
        assert service.generated == 2

    async def test_a_data_key_is_never_used_beyond_its_bound_while_the_service_answers(
        self, make: Callable[..., EnvelopeKeys]
    ) -> None:
        keys, uses = make(seal_messages=10), {}
        for _ in range(500):
            key = await seal(keys)
            uses[key.wrapped] = uses.get(key.wrapped, 0) + 1
        assert max(uses.values()) <= 10
        assert len(uses) >= 50

    async def test_a_passing_fault_is_not_noticed(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        service.faults = [DOWN, DOWN]
        await seal(make())
        assert service.generated == 3

    async def test_down_from_the_beginning_is_an_error_in_bounded_time(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        service.down = DOWN
        keys = make()
        with pytest.raises(KeyServiceUnavailable, match=r"memory:orders is down.*can be reached"):
            await seal(keys)
        assert service.generated == 3
        service.down = None
        await seal(keys)

    async def test_slow_is_an_error_in_bounded_time(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        service.delay_seconds = 30
        keys, started = make(), asyncio.get_running_loop().time()
        with pytest.raises(KeyServiceUnavailable, match=r"did not answer within 0\.[25] seconds"):
            await seal(keys)
        assert asyncio.get_running_loop().time() - started < 5

    async def test_an_outage_is_survived_for_a_while(
        self,
        make: Callable[..., EnvelopeKeys],
        service: MemoryKeyService,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        keys = make(seal_age_seconds=100, grace_seconds=50)
        first = await seal(keys)
        service.down = DOWN
        clock.now += 101
        assert await seal(keys) is first
        assert "data key of memory:orders not renewed" in caplog.text
        asked = service.generated
        clock.now += 1
        assert keys.sealing(ANYONE, 1) is first
        assert service.generated == asked
        clock.now += 50
        with pytest.raises(KeyServiceUnavailable):
            await seal(keys)
        service.down = None
        assert await seal(keys) is not first

    async def test_in_an_outage_use_is_bounded_too(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        keys = make(seal_messages=10, grace_seconds=1000)
        first = await seal(keys)
        service.down = DOWN
        for _ in range(19):
            assert await seal(keys) is first
        with pytest.raises(KeyServiceUnavailable):
            await seal(keys)

    async def test_a_refusal_is_believed_at_once(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService, clock: Clock
    ) -> None:
        keys = make(seal_age_seconds=100, grace_seconds=1000)
        await seal(keys)
        service.down = DENIED
        clock.now += 101
        with pytest.raises(KeyServiceDenied, match=r"memory:orders refuses \(AccessDenied\)"):
            await seal(keys)
        assert service.generated == 2

    async def test_whoever_stops_waiting_does_not_stop_the_others(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        keys = make()
        service.delay_seconds = 0.1
        first, second = asyncio.create_task(seal(keys)), asyncio.create_task(seal(keys))
        await asyncio.sleep(0.02)
        first.cancel()
        assert (await second).id == "memory:orders"
        assert service.generated == 1
        with pytest.raises(asyncio.CancelledError):
            await first


class TestOpening:
    async def test_many_wait_for_one(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        key, keys = await seal(make()), make()
        service.delay_seconds = 0.05
        found = await asyncio.gather(*(unseal(keys, key) for _ in range(100)))
        assert all(one is found[0] for one in found)
        assert service.unwrapped == 1

    async def test_the_least_used_goes_first(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        written, keys = [await seal(make()) for _ in range(4)], make(open_count=3)
        for key in written[:3]:
            await unseal(keys, key)
        await unseal(keys, written[0])
        await unseal(keys, written[3])
        assert service.unwrapped == 4
        await unseal(keys, written[0])
        assert service.unwrapped == 4
        await unseal(keys, written[1])
        assert service.unwrapped == 5

    async def test_what_was_kept_too_long_is_asked_for_again(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService, clock: Clock
    ) -> None:
        key, keys = await seal(make()), make(open_age_seconds=100)
        await unseal(keys, key)
        clock.now += 81
        assert keys.opening(key.id, key.wrapped, ANYONE) is not None
        await until(lambda: service.unwrapped == 2 and not keys._opening._flights)
        clock.now += 101
        assert keys.opening(key.id, key.wrapped, ANYONE) is None
        await unseal(keys, key)
        assert service.unwrapped == 3

    async def test_cached_keys_survive_an_outage_and_not_a_refusal(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService, clock: Clock
    ) -> None:
        key, keys = await seal(make()), make(open_age_seconds=100, grace_seconds=1000)
        await unseal(keys, key)
        service.down = DOWN
        clock.now += 500
        assert (await unseal(keys, key)).id == key.id
        service.down = DENIED
        clock.now += 10
        assert keys.opening(key.id, key.wrapped, ANYONE) is not None
        await until(lambda: keys.opening(key.id, key.wrapped, ANYONE) is None)
        with pytest.raises(KeyServiceDenied):
            await unseal(keys, key)

    async def test_faults_of_the_payload(
        self, make: Callable[..., EnvelopeKeys], service: MemoryKeyService
    ) -> None:
        key, keys = await seal(make()), make()
        assert key.wrapped is not None
        with pytest.raises(MissingKey, match=r"'k1'.* has a key service. Set key-ring"):
            keys.opening("k1", None, ANYONE)
        with pytest.raises(WrappedKey, match=r"'memory:other'.*configure that key service"):
            keys.opening("memory:other", key.wrapped, ANYONE)
        with pytest.raises(InvalidPayload, match="no service made it"):
            keys.opening(key.id, b"A" * 9000, ANYONE)
        for wrapped in (b"", b"%%%", b"AAA", key.wrapped[:-4], b"AAAA" + key.wrapped[4:]):
            with pytest.raises(InvalidPayload, match="The payload's data key"):
                await keys.fetch_opening(key.id, wrapped, ANYONE)
        assert service.unwrapped == 3

    async def test_another_binding_is_refused(self, service: MemoryKeyService) -> None:
        sealed = await EncryptionCodec(EnvelopeKeys(service, binding="orders.acme")).encode([PAYLOAD])
        with pytest.raises(InvalidPayload):
            await EncryptionCodec(EnvelopeKeys(service, binding="billing.acme")).decode(sealed)

    async def test_older_services_are_read_and_not_written(self, service: MemoryKeyService) -> None:
        new = MemoryKeyService("memory:new")
        old = await EncryptionCodec(EnvelopeKeys(service, binding="a")).encode([PAYLOAD])
        codec = EncryptionCodec(EnvelopeKeys(new, binding="a", also=[service]))
        assert await codec.decode(old) == [PAYLOAD]
        assert (await codec.encode([PAYLOAD]))[0].metadata["encryption-key-id"] == b"memory:new"
        # A data key that says it is the other service's.
        old[0].metadata["encryption-key-id"] = b"memory:new"
        with pytest.raises(InvalidPayload):
            await codec.decode(old)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_payload_altered_anywhere_is_an_error(data: st.DataObject) -> None:
    async def check() -> None:
        keys = EnvelopeKeys(_SHARED, binding="a")
        sealed = (await EncryptionCodec(keys).encode([PAYLOAD]))[0]
        field = data.draw(st.sampled_from(["data", "encryption-dek", "encryption-key-id"]))
        content = sealed.data if field == "data" else sealed.metadata[field]
        at, flip = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
        content = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
        if field == "data":
            sealed.data = content
        else:
            sealed.metadata[field] = content
        with pytest.raises((InvalidPayload, WrappedKey, MissingKey)):
            await EncryptionCodec(EnvelopeKeys(_SHARED, binding="a")).decode([sealed])

    asyncio.run(check())


_SHARED = MemoryKeyService()


async def test_nothing_of_a_key_shows(
    make: Callable[..., EnvelopeKeys], service: MemoryKeyService, caplog: pytest.LogCaptureFixture
) -> None:
    keys = make()
    with caplog.at_level(logging.DEBUG):
        key = await seal(keys)
    shown = [repr(keys), repr(key), str(key.material), caplog.text]
    secret = key.material.reveal()
    for text in shown:
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode() not in text
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_service_with_an_impossible_id_is_refused() -> None:
    with pytest.raises(KeyServiceError, match="can't name a key"):
        EnvelopeKeys(MemoryKeyService("m" * 401), binding="a")
