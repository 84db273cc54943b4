"""Several holders of keys as one: new payloads are under the first, and older ones are read with whichever has their key.

So a profile changes from a key ring to a key service (or back) without leaving anything unreadable.
"""

from __future__ import annotations

from codec.keys.provider import DataKey, Keys, Scope


class LayeredKeys:
    """`sealing` for new payloads; for older ones `named` has keys by id, `wrapped` those that travel with the payload."""

    def __init__(self, sealing: Keys, *, named: Keys | None = None, wrapped: Keys | None = None) -> None:
        self._sealing = sealing
        self._named = named or sealing
        self._wrapped = wrapped or sealing

    def __repr__(self) -> str:
        return f"LayeredKeys({self._sealing!r}, named={self._named!r}, wrapped={self._wrapped!r})"

    def sealing(self, scope: Scope, size: int) -> DataKey | None:
        """The first's."""
        return self._sealing.sealing(scope, size)

    async def fetch_sealing(self, scope: Scope, size: int) -> DataKey:
        """The first's."""
        return await self._sealing.fetch_sealing(scope, size)

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey | None:
        """Whose kind of key it is."""
        return self._holder(wrapped).opening(key_id, wrapped, scope)

    async def fetch_opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey:
        """Whose kind of key it is."""
        return await self._holder(wrapped).fetch_opening(key_id, wrapped, scope)

    def _holder(self, wrapped: bytes | None) -> Keys:
        return self._named if wrapped is None else self._wrapped
