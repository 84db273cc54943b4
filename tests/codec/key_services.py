"""What tests of key services share: a service in memory that misbehaves when told to, and what every real one must pass."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from codec import InvalidPayload, KeyMaterial
from codec.keys.service import KeyService


class MemoryKeyService:
    """A key service in this process. `faults` are raised first, one a call; `delay_seconds` passes before each answer."""

    def __init__(self, key_id: str = "memory:orders") -> None:
        self.key_id = key_id
        self.faults: list[Exception] = []
        self.down: Exception | None = None
        self.delay_seconds = 0.0
        self.generated = 0
        self.unwrapped = 0
        self._aead = AESGCM(secrets.token_bytes(32))

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        self.generated += 1
        await self._misbehave()
        secret, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
        return KeyMaterial(secret), nonce + self._aead.encrypt(nonce, secret, binding.encode())

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        self.unwrapped += 1
        await self._misbehave()
        try:
            return KeyMaterial(self._aead.decrypt(wrapped[:12], wrapped[12:], binding.encode()))
        except (InvalidTag, ValueError):
            raise InvalidPayload("The payload's data key was not wrapped by memory.") from None

    async def _misbehave(self) -> None:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.faults:
            raise self.faults.pop(0)
        if self.down is not None:
            raise self.down


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ServiceContract:
    """What every key service does; a test class of a real one inherits it and gives `service` and `other_key`."""

    refusals: tuple[type[Exception], ...] = (InvalidPayload,)

    @pytest.fixture
    def service(self) -> KeyService:
        raise NotImplementedError

    @pytest.fixture
    def other_key(self) -> KeyService:
        """Another key of the same service."""
        raise NotImplementedError

    async def test_wraps_and_unwraps(self, service: KeyService) -> None:
        first, wrapped_first = await service.generate("orders.acme")
        second, wrapped_second = await service.generate("orders.acme")
        assert not first.same_as(second)
        assert first.reveal() not in wrapped_first
        assert (await service.unwrap(wrapped_first, "orders.acme")).same_as(first)
        assert (await service.unwrap(wrapped_second, "orders.acme")).same_as(second)

    async def test_altered_is_an_error_and_never_another_key(self, service: KeyService) -> None:
        _, wrapped = await service.generate("orders.acme")
        places = sorted({0, 1, 2, len(wrapped) // 2, len(wrapped) - 2})
        altered = [wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :] for at in places]
        for one in (
            *altered,
            wrapped[:-1],
            wrapped[: len(wrapped) // 2],
            wrapped[:2],
            b"",
            b"\0",
            wrapped + b"A",
        ):
            with pytest.raises(self.refusals):
                await service.unwrap(one, "orders.acme")

    async def test_another_key_of_the_service_does_not_unwrap(
        self, service: KeyService, other_key: KeyService
    ) -> None:
        _, wrapped = await service.generate("orders.acme")
        with pytest.raises(self.refusals):
            await other_key.unwrap(wrapped, "orders.acme")


class BoundServiceContract(ServiceContract):
    """Of services that bind what they wrap."""

    async def test_another_binding_does_not_unwrap(self, service: KeyService) -> None:
        _, wrapped = await service.generate("orders.acme")
        for binding in ("billing.acme", "", "orders.acm"):
            with pytest.raises(InvalidPayload, match="not wrapped by"):
                await service.unwrap(wrapped, binding)


async def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for something that happens in the background."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
