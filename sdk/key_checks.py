"""Whether a profile's keys do what they must: a round trip through all that gives them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from codec import ANYONE, CodecError, DataKey, Keys, KeyServiceNotAsked, RingBacked
from sdk.keys import KeySource

SIZE_BYTES = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyCheck:
    """One thing that was looked at: `fault` is a sentence if it is wrong."""

    what: str
    detail: str = ""
    fault: str | None = None


async def check_keys(source: KeySource) -> list[KeyCheck]:
    """What was looked at, in order; what needs a thing that is wrong is left out.

    A key service is asked to make a data key and, by another connection, to unwrap it. One that is only read from can't be
    asked that; it is looked at as far as its name and client library go. Nothing is changed, but a store of subjects' keys that
    is new gets the file that begins it.
    """
    checks: list[KeyCheck] = []
    try:
        keys = await asyncio.to_thread(source.open_namespace_keys)
    except CodecError as error:
        return [KeyCheck(what="open", fault=str(error))]
    checks.append(KeyCheck(what="open", detail=_described(keys, source)))

    sealed: list[DataKey] = []

    async def seal() -> str:
        sealed.append(await keys.fetch_sealing(ANYONE, SIZE_BYTES))
        return f"new payloads are under key {sealed[0].id}, bound to {sealed[0].binding}"

    async def unseal() -> str:
        # Another one, which has nothing in memory.
        other = await asyncio.to_thread(dataclasses.replace(source).open_namespace_keys)
        found = await other.fetch_opening(sealed[0].id, sealed[0].wrapped, ANYONE)
        if not found.material.same_as(sealed[0].material):
            raise CodecError("The key that comes back is another one: do not use this.")
        return "it is read again"

    async def subjects() -> str:
        keys_of_subjects = await asyncio.to_thread(dataclasses.replace(source).open_subject_keys)
        return f"{await keys_of_subjects.reachable()} can be read"

    try:
        checks.append(await _looked("encrypt", seal))
    except KeyServiceNotAsked as error:
        return [KeyCheck(what="open", fault=str(error))]
    if sealed:
        checks.append(await _looked("decrypt", unseal))
    if source.subject_store is not None:
        checks.append(await _looked("subjects", subjects))
    return checks


async def _looked(what: str, look: Callable[[], Awaitable[str]]) -> KeyCheck:
    try:
        return KeyCheck(what=what, detail=await look())
    except KeyServiceNotAsked:
        raise
    except CodecError as error:
        return KeyCheck(what=what, fault=str(error))


def _described(keys: Keys, source: KeySource) -> str:
    also = f", and {len(source.also)} more key services to read with" if source.also else ""
    if isinstance(keys, RingBacked):
        ring = keys.current()
        states = [key.state.value for key in ring.records]
        counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"{ring.source}: {counted}{also}"
    return f"{(source.provider or str(source.ring)).partition('?')[0]}{also}"
