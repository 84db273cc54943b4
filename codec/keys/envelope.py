"""Envelope encryption: payloads are encrypted with data keys, data keys are wrapped by a key management service.

A data key is made every hour (or so many messages or bytes), kept in memory, and travels wrapped with each payload that it
encrypts::

    metadata: encryption-key-id = <the service's key id>, encryption-dek = <base64 of the wrapped data key>

Whoever may use the service's key can read them, and nobody else; who is taken that right stops reading when what is kept
has grown old (`EnvelopeBounds`). The data key is bound to the ring's binding, by the service where it can
(`KeyService.generate`) and by the payload's associated data always.

The layout of these two fields is temporal-proxy's, so its payloads are read too, given the same key
(`codec/keys/services`).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence

from codec.errors import InvalidPayload, KeyServiceError, MissingKey, WrappedKey
from codec.keys.fetching import Fetched, Keeping
from codec.keys.provider import DataKey, Scope
from codec.keys.service import KeyService, Patience, PatientService

WRAPPED_MAX_BYTES = 8 * 1024
"""As it travels. The largest that a service makes (RSA 4096, or a Google key with labels) is a tenth of it."""

KEY_ID_CHARACTERS_MAX = 400


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvelopeBounds:
    """What one data key may be used for, and what is kept of those that were unwrapped."""

    seal_age_seconds: float = 3600.0
    seal_messages: int = 2**24
    """Far below what wears out a key in either format (2**32 in the samples'); it bounds what one data key opens."""
    seal_bytes: int = 64 * 1024**3
    open_count: int = 2000
    open_age_seconds: float = 3600.0
    grace_seconds: float = 4 * 3600.0
    """How much longer keys stay in use while the service can't be reached (at most twice the messages and bytes)."""


class EnvelopeKeys:
    """Keys out of a key management service. Nothing is asked of it before the first payload.

    New payloads are under `service`; `also` are further ones that payloads may be read with: a key that was in use before,
    one of another region, one that another program writes under.
    """

    def __init__(
        self,
        service: KeyService,
        *,
        binding: str,
        also: Sequence[KeyService] = (),
        bounds: EnvelopeBounds | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        chosen, patience = bounds or EnvelopeBounds(), patience or Patience()
        self._binding = binding
        self._bounds = chosen
        self._lock = threading.Lock()
        self._service = PatientService(service, patience)
        self._services = {service.key_id: self._service}
        for other in also:
            self._services.setdefault(other.key_id, PatientService(other, patience))
        for key_id in self._services:
            if not key_id or len(key_id) > KEY_ID_CHARACTERS_MAX:
                raise KeyServiceError(
                    f"{key_id[:80]!r}… can't name a key in payloads: at most {KEY_ID_CHARACTERS_MAX} characters."
                )
        self._sealing: Fetched[None, _Sealing] = Fetched(
            self._new_data_key,
            Keeping(count=1, age_seconds=chosen.seal_age_seconds, grace_seconds=chosen.grace_seconds),
            what=f"data key of {service.key_id}",
            wear=self._wear,
            clock=clock,
        )
        self._opening: Fetched[tuple[str, bytes], DataKey] = Fetched(
            self._unwrapped,
            Keeping(
                count=chosen.open_count,
                age_seconds=chosen.open_age_seconds,
                grace_seconds=chosen.grace_seconds,
            ),
            what="unwrapped data key",
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"EnvelopeKeys({self._service.key_id!r}, binding={self._binding!r})"

    def sealing(self, scope: Scope, size: int) -> DataKey | None:
        """The data key in use, if there is one."""
        found = self._sealing.peek(None)
        return None if found is None else self._used(found, size)

    async def fetch_sealing(self, scope: Scope, size: int) -> DataKey:
        """The data key in use, or a new one.

        Raises:
            KeyServiceError: the service can't be reached, or refuses.
        """
        return self._used(await self._sealing.get(None), size)

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey | None:
        """The data key, if it was unwrapped before.

        Raises:
            MissingKey: the payload carries no data key.
            WrappedKey: it is wrapped by a key that is not configured here.
        """
        if wrapped is None:
            raise MissingKey(
                key_id,
                ring="this profile, which has a key service",
                way_out="Set key-ring to the key ring that has it, beside key-provider: it is read with both.",
            )
        if key_id not in self._services:
            raise WrappedKey(key_id)
        if len(wrapped) > WRAPPED_MAX_BYTES:
            raise InvalidPayload(
                f"The payload's data key has {len(wrapped)} bytes, above {WRAPPED_MAX_BYTES}: no service made it."
            )
        return self._opening.peek((key_id, wrapped))

    async def fetch_opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey:
        """The data key, unwrapped by the service that the payload names.

        Raises:
            MissingKey, WrappedKey: see `opening`.
            InvalidPayload: the wrapped key was altered, or is of another key or binding.
            KeyServiceError: the service can't be reached, or refuses.
        """
        if (found := self.opening(key_id, wrapped, scope)) is not None:
            return found
        assert wrapped is not None
        return await self._opening.get((key_id, wrapped))

    async def _new_data_key(self, _: None) -> _Sealing:
        material, wrapped = await self._service.generate(self._binding)
        key = DataKey(
            id=self._service.key_id,
            material=material,
            binding=self._binding,
            wrapped=base64.b64encode(wrapped),
        )
        assert key.wrapped is not None
        # What is written here is often read here.
        self._opening.put((key.id, key.wrapped), key)
        return _Sealing(key)

    async def _unwrapped(self, named: tuple[str, bytes]) -> DataKey:
        key_id, travelling = named
        try:
            wrapped = base64.b64decode(travelling, validate=True)
        except (ValueError, binascii.Error):
            raise InvalidPayload(
                "The payload's data key (encryption-dek) is not base64: it was altered, or written by another program."
            ) from None
        material = await self._services[key_id].unwrap(wrapped, self._binding)
        return DataKey(id=key_id, material=material, binding=self._binding, wrapped=travelling)

    def _used(self, sealing: _Sealing, size: int) -> DataKey:
        with self._lock:
            sealing.messages += 1
            sealing.bytes += size
        return sealing.key

    def _wear(self, sealing: _Sealing) -> float:
        return max(sealing.messages / self._bounds.seal_messages, sealing.bytes / self._bounds.seal_bytes)


@dataclasses.dataclass
class _Sealing:
    """A data key and what it was used for."""

    key: DataKey
    messages: int = 0
    bytes: int = 0
