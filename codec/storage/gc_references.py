"""Finds what histories point to, without decrypting anything but, on request, to look for files.

Objects are found by their hashes, wherever 64 hex digits stand in a message's bytes: in payloads, in protos that are packed in
payloads (a scheduler's state), in fields that nobody has thought of. So a reference can be overlooked only where it is
compressed or encrypted, and the references of the SDK are neither. A number that only looks like one keeps an object alive
that could go; the reverse can't happen.

References are also read as such, for two dangers: another driver's, of which nobody here knows where its objects are, and
references that the codec has encrypted (a form that the SDK reads and does not write yet). What is not understood is an
error: then nothing is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from temporalio.api.common.v1 import Payload

from codec.errors import CodecError, DestroyedKey, ForgottenSubject, OffloadError
from codec.files.handle import find_addresses
from codec.storage.references import read_claim
from codec.storage.sdk_references import MARKER, MESSAGE_TYPE, OLD_ENCODING, read_data
from codec.walk import Walkers

_SHA256 = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

Opened = Callable[[Payload], Awaitable[Payload]]
"""Gives what a payload holds once it is fetched from the store and decoded, whosever it is."""


class UnknownReference(OffloadError):
    """A history points to something that is not understood here, so nobody can tell what is in use."""


class References:
    """All that messages point to: hashes of objects, and URIs of files if payloads can be opened."""

    def __init__(self, *, other_drivers: Collection[str] = (), opened: Opened | None = None) -> None:
        """`other_drivers` are known to keep their objects elsewhere. With `opened`, files are looked for in payloads."""
        self.met: set[str] = set()
        self.unreadable = 0
        """Payloads whose key was destroyed: nobody opens a file that they name either."""
        self._other_drivers = frozenset(other_drivers)
        self._opened = opened
        self._walkers = Walkers()

    async def add(self, message: Any, *, of: str) -> set[str]:
        """Note all that `message` points to, and return the hashes; `of` says whose it is, for errors.

        Raises:
            UnknownReference: it points to something that is not understood.
            CodecError: a payload that must be opened can't be.
        """
        found = hashes_in(message.SerializeToString())
        walk = self._walkers.of(message.DESCRIPTOR)
        for place in walk(message).payloads if walk is not None else ():
            payload: Payload = place.message
            # Again, for what is packed in base64 (a Nexus failure's details).
            found |= hashes_in(payload.data)
            if MARKER in payload.metadata:
                found |= await self._encoded(payload, of)
            elif may_be_reference(payload):
                self._check(payload, of)
            if self._opened is not None:
                await self._look_for_files(payload, of)
        self.met |= found
        return found

    async def _encoded(self, payload: Payload, of: str) -> set[str]:
        if self._opened is None:
            raise UnknownReference(
                f"{of} has a reference that is encrypted; run with --files, so that it is decrypted with the profile's keys. "
                "Nothing is deleted."
            )
        bare = Payload()
        bare.CopyFrom(payload)
        del bare.metadata[MARKER]
        del bare.external_payloads[:]
        reference = await self._open(bare, of)
        if reference is None:
            return set()
        self._check(reference, of)
        found = hashes_in(reference.data)
        await self._look_for_files(reference, of)
        return found

    async def _look_for_files(self, payload: Payload, of: str) -> None:
        content = await self._open(payload, of)
        if content is not None:
            self.met |= {address.uri for address in find_addresses(content.data)}

    async def _open(self, payload: Payload, of: str) -> Payload | None:
        assert self._opened is not None
        try:
            return await self._opened(payload)
        except (DestroyedKey, ForgottenSubject):
            self.unreadable += 1
            return None
        except CodecError as error:
            raise UnknownReference(
                f"{of} has a payload that can't be opened, which may name files: {error} Nothing is deleted."
            ) from error

    def _check(self, payload: Payload, of: str) -> None:
        try:
            driver, claim = read_reference(payload)
        except ValueError:
            raise UnknownReference(
                f"{of} has a reference to an offloaded payload that is malformed. Nothing is deleted."
            ) from None
        if driver in self._other_drivers:
            return
        try:
            read_claim(claim)
        except OffloadError:
            raise UnknownReference(
                f"{of} has a reference of the storage driver {driver[:80]!r}, which is not known here. If its objects are "
                f"elsewhere, say so (--other-driver {driver[:80]}). Nothing is deleted."
            ) from None


def may_be_reference(payload: Payload) -> bool:
    """Whether a payload looks like the SDK's reference to an offloaded one: generous, for what it names is kept."""
    return (
        payload.metadata.get("encoding") == OLD_ENCODING
        or payload.metadata.get("messageType") == MESSAGE_TYPE
    )


def hashes_in(content: bytes) -> set[str]:
    """Everything in `content` that looks like a SHA-256 in hex."""
    return {found[0].decode() for found in _SHA256.finditer(content)}


def read_reference(payload: Payload) -> tuple[str, dict[str, str]]:
    """Driver and claim of a reference, in either of the SDK's forms, whatever its size.

    Raises:
        ValueError: it is malformed.
    """
    reference = read_data(payload.data, old=payload.metadata.get("encoding") == OLD_ENCODING)
    if reference is None:
        raise ValueError("no reference")
    return reference.driver_name, dict(reference.claim_data)
