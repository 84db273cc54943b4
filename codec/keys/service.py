"""What envelope encryption asks of a key management service, and how it is asked: in bounded time, again if it may help.

A service holds a *key-encryption key* that never leaves it, and wraps data keys with it. `encryption-key-id` of a payload
is the service's `key_id`, `encryption-dek` the base64 of what `generate` returned as wrapped.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from codec.errors import KeyServiceUnavailable
from codec.keys.ring import KeyMaterial

T = TypeVar("T")

ATTEMPT_SECONDS = 2.5
CALLS_AT_ONCE_MAX = 16
"""Per service: a history under thousands of data keys must not become thousands of requests at one time."""


class KeyService(Protocol):
    """One key of a key management service. Used on one event loop only.

    Both calls raise:
        KeyServiceUnavailable: it is slow, down or throttles; asking again may help.
        KeyServiceDenied: it refuses, or the key is not there or not enabled; asking again does not help.
        KeyServiceError: it answers what can't be.
    """

    @property
    def key_id(self) -> str:
        """What payloads call the key, at most 400 characters: the service and the key's name there, without version."""
        ...

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        """A fresh data key, and the same wrapped by the service's key, for `binding` only."""
        ...

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        """The data key again.

        Raises:
            InvalidPayload: not what `generate` made: altered, of another key, or of another binding.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a service may take. A workflow task has 10 seconds by default; an answer that comes later helps nobody."""

    attempt_seconds: float = ATTEMPT_SECONDS
    attempts: int = 5
    total_seconds: float = 8.0
    backoff_seconds_max: float = 2.0


class PatientService:
    """A service, asked within bounds: each attempt has its time, what may help is tried again, and all has an end."""

    def __init__(self, service: KeyService, patience: Patience) -> None:
        self._service = service
        self._patience = patience
        self._gate = asyncio.Semaphore(CALLS_AT_ONCE_MAX)

    @property
    def key_id(self) -> str:
        """The service's."""
        return self._service.key_id

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        """See `KeyService`."""
        return await self._ask(partial(self._service.generate, binding))

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        """See `KeyService`."""
        return await self._ask(partial(self._service.unwrap, wrapped, binding))

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        fault: KeyServiceUnavailable | None = None
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(KeyServiceUnavailable),
            stop=stop_after_attempt(self._patience.attempts),
            wait=wait_random_exponential(multiplier=0.2, max=self._patience.backoff_seconds_max),
            reraise=True,
        )
        try:
            # What waits for its turn is within the time too.
            async with asyncio.timeout(self._patience.total_seconds), self._gate:
                async for attempt in attempts:
                    with attempt:
                        try:
                            return await self._attempt(call)
                        except KeyServiceUnavailable as error:
                            fault = error
                            raise
        except TimeoutError:
            pass
        raise fault or KeyServiceUnavailable(
            self.key_id, f"did not answer within {self._patience.total_seconds:g} seconds"
        )

    async def _attempt(self, call: Callable[[], Awaitable[T]]) -> T:
        deadline = asyncio.timeout(self._patience.attempt_seconds)
        try:
            async with deadline:
                return await call()
        except TimeoutError:
            # The service's own time-outs too, which are no CodecError.
            raise KeyServiceUnavailable(
                self.key_id, f"did not answer within {self._patience.attempt_seconds:g} seconds"
            ) from None
