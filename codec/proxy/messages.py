"""One message through one namespace's chain: all that users wrote in it, in one batch, both ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from temporalio.api.common.v1 import Payload
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.converter import SerializationContext

from codec.decode_bound import one_message
from codec.errors import PlaintextRefused
from codec.places import Place, Places
from codec.proxy import sentences
from codec.proxy.payloads import PayloadChain, is_sealed
from codec.walk import Walkers

KEY_ID_CHARS_MAX = 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """What one message held: how many payloads, and the ids of the keys that they name."""

    payloads: int
    key_ids: frozenset[str]


NOTHING = Batch(payloads=0, key_ids=frozenset())


Whose = Callable[[Place], "SerializationContext | None"]
"""What the codecs are told of whose payload stands at a place."""

Told = Callable[[Batch], Awaitable[None]]
"""Told of what was decoded before it is put into its message: if that raises, the message stays as it was."""


async def encode(places: Places, chain: PayloadChain, whose: Whose | None = None) -> int:
    """Make all of a message fit for the service, in place; how many payloads that were. `whose` is asked if the chain asks.

    Raises:
        PlaintextRefused: something stays readable that nothing here can encrypt; the sentence names it.
        CodecError: a key or the object store can't be had.
    """
    if chain.encrypts and places.has_sentences:
        sentences.hide(places)
    found = places.payloads
    if found:
        _put(found, await _each(found, chain, whose, PayloadChain.encode))
    if chain.encrypts:
        refuse_readable(places)
    places.repack()
    return len(found)


async def decode(
    places: Places, chain: PayloadChain, whose: Whose | None = None, told: Told | None = None
) -> Batch:
    """Make all of a message what the worker wrote, in place; if that fails, nothing of it has changed.

    Raises:
        CodecError: a payload can't be decoded, a key or an object can't be had, or `told` raised it.
    """
    batch = await decode_some(places.payloads, chain, whose, told)
    finish(places)
    return batch


async def decode_some(
    found: Sequence[Place], chain: PayloadChain, whose: Whose | None = None, told: Told | None = None
) -> Batch:
    """Decode these payloads in place, all or none. Once all of a message are, `finish` is due.

    Raises:
        CodecError: as `decode`.
    """
    if not found:
        return NOTHING
    key_ids: set[bytes] = set()

    async def decoded(told_chain: PayloadChain, payloads: Sequence[Payload]) -> list[Payload]:
        return await told_chain.decode(payloads, key_ids)

    with one_message(chain.decode_bytes_max):
        payloads = await _each(found, chain, whose, decoded)
    batch = _batch(len(found), key_ids)
    if told is not None:
        await told(batch)
    _put(found, payloads)
    return batch


def finish(places: Places) -> None:
    """Put sentences back that the decoded payloads hold, and write packed messages back."""
    if places.has_sentences:
        sentences.reveal(places)
    places.repack()


def refuse_readable(places: Places) -> None:
    """The guard of all that goes to the service, whatever the codecs did.

    Raises:
        PlaintextRefused: something is readable.
    """
    place: Place | None
    for place in places.payloads:
        if not is_sealed(place.message):
            raise PlaintextRefused(
                f"{place.path} would reach the service unencrypted, and is held back here."
            )
    place = sentences.readable(places) if places.has_sentences else None
    if place is not None:
        raise PlaintextRefused(f"{place.path} would reach the service readable, and is held back here.")
    for place, reason in places.opaque:
        raise PlaintextRefused(
            f"{place.path} {reason}, so what is in it can't be encrypted, and it is held back here. "
            "A newer Tacit may know it."
        )


async def decode_status(
    details: bytes,
    sentence: str,
    chain: PayloadChain,
    walkers: Walkers,
    whose: Whose | None = None,
    told: Told | None = None,
) -> tuple[bytes, str]:
    """An error's details and sentence as the worker wrote them, where they hold a failure that it wrote.

    Raises:
        CodecError: as `decode`.
    """
    walk = walkers.of(Status.DESCRIPTOR)
    assert walk is not None
    try:
        status = Status.FromString(details)
    except DecodeError:
        return details, sentence
    places = walk(status)
    if not places.payloads:
        return details, sentence
    await decode(places, chain, whose, told)
    for packed in status.details:
        failed = QueryFailedFailure()
        if sentence == sentences.ENCODED and packed.Unpack(failed) and failed.failure.message:
            sentence = status.message = failed.failure.message
    return status.SerializeToString(), sentence


async def _each(
    found: Sequence[Place],
    chain: PayloadChain,
    whose: Whose | None,
    work: Callable[[PayloadChain, Sequence[Payload]], Awaitable[list[Payload]]],
) -> list[Payload]:
    """What `work` makes of each payload, told whose it is where the chain asks for that."""
    if not chain.asks or whose is None:
        return await work(chain, [place.message for place in found])
    groups: dict[SerializationContext | None, list[int]] = {}
    for index, place in enumerate(found):
        groups.setdefault(whose(place), []).append(index)
    done: dict[int, Payload] = {}
    for context, indices in groups.items():
        made = await work(chain.told(context), [found[index].message for index in indices])
        done.update(zip(indices, made, strict=True))
    return [done[index] for index in range(len(found))]


def _put(found: Sequence[Place], payloads: Sequence[object]) -> None:
    for place, payload in zip(found, payloads, strict=True):
        if payload is not place.message:
            place.message.CopyFrom(payload)


def _batch(payloads: int, key_ids: Iterable[bytes]) -> Batch:
    return Batch(
        payloads=payloads,
        key_ids=frozenset(one[:KEY_ID_CHARS_MAX].decode(errors="replace") for one in key_ids if one),
    )
