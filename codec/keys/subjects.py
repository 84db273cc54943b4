"""Forgetting one customer: keys per subject, each deleted by itself.

A *subject* is whose data it is: a workflow, or a customer whose name a workflow's id begins with. Each has a key of its own, in
a store of the customer's (`subject_store.py`), sealed there under the key ring's or key service's key. Payloads carry the name
of the subject's key and nothing else of it::

    encryption-key-id = "subject/<index>/<generation>"

**Why this forgets.** What the service has of a payload, in its database and in every backup of it, is ciphertext and that name.
The key exists in the store alone, so deleting the record there is deleting the data everywhere, also from somebody who has
backups of the service's database and later gets the key ring too. A wrapped key that travels with the payload would be in those
backups, and then only destroying what wraps it would help: a key per subject in the key service, which costs money per
customer, to forget one, or all of a namespace at once. So no part of a subject's key travels.

**What it rests on.** The store must really forget: switch off its versioning, and let backups of it expire within the time in
which you promise to forget. What a worker has in memory it keeps for `RECHECK_SECONDS` at most. Payloads that name no workflow,
or whose workflow's id does not match the pattern, are under the namespace's key (or refused: `required`), and so is all that
was written before.

**Many workers.** A key is made by whoever first needs it, and only if there is none (a conditional write); the record is
durable before anything is encrypted under it. After a crash in between there is a key that nothing uses.

**Between workflows.** A payload says whose key it is under, so it is read wherever it goes: a child's input, a result, a signal,
the next run. Forgetting a subject takes its payloads from other workflows' histories too.

**After forgetting** the record stays as a tombstone: what is under the key is told to be forgotten (`ForgottenSubject`), and new
data of the subject is refused, unless forgetting said that the subject may come back; then it gets another generation, and
what was forgotten stays so. A subject that never was can be forgotten too, ahead.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from codec.errors import ForgottenSubject, KeyRingError, MissingKey, NoSubject
from codec.keys.fetching import Fetched, Keeping
from codec.keys.provider import ANYONE, DataKey, Keys, Scope
from codec.keys.ring import KEY_BYTES, KeyMaterial
from codec.keys.subject_records import (
    GENERATION_MAX,
    ForgottenRecord,
    LiveRecord,
    open_record,
    seal_record,
)
from codec.keys.subject_store import Found, SubjectStore

RECHECK_SECONDS = 60.0
"""How soon every worker knows that a subject is forgotten."""

GRACE_SECONDS = 15 * 60.0
"""How much longer keys are used while the store can't be reached. Nobody can be forgotten then either."""

KEPT_MAX = 5000
SUBJECT_CHARACTERS_MAX = 1000
TRIES_MAX = 5
PREFIX = "subject/"

_KEY_ID = re.compile(r"subject/([0-9a-f]{32})/([1-9][0-9]{0,6})")

SubjectOf = Callable[[Scope], str | None]
"""Whose data it is; None if it is nobody's in particular. Called for each payload: it must be quick, and must not change."""


def each_workflow(scope: Scope) -> str | None:
    """Every workflow is a subject of its own."""
    return scope.workflow_id


def by_pattern(pattern: str) -> SubjectOf:
    """The subject is what the pattern's first group (or all of it) matches at the beginning of a workflow's id.

    `(customer-[0-9]+)-` makes a subject of customer-17 out of customer-17-order-4.

    Raises:
        KeyRingError: it is no regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise KeyRingError(
            f"The pattern of subjects {pattern[:80]!r} is no regular expression: {error}."
        ) from None

    def subject_of(scope: Scope) -> str | None:
        found = compiled.match(scope.workflow_id) if scope.workflow_id is not None else None
        return (found[1] if compiled.groups else found[0]) if found is not None else None

    return subject_of


class SubjectKeys:
    """Keys per subject, in front of `keys`, which seal the subjects' keys and serve all that is nobody's.

    With `required` nothing that is nobody's is encrypted: better no payload than one that can't be forgotten.
    """

    def __init__(
        self,
        keys: Keys,
        store: SubjectStore,
        subject_of: SubjectOf,
        *,
        binding: str,
        required: bool = False,
        recheck_seconds: float = RECHECK_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._store = store
        self._subject_of = subject_of
        self._binding = binding
        self._required = required
        keeping = Keeping(
            count=KEPT_MAX, age_seconds=recheck_seconds, grace_seconds=grace_seconds, pause_seconds=1.0
        )
        self._sealing: Fetched[str, DataKey] = Fetched(
            self._to_seal, keeping, what="a subject's key", clock=clock
        )
        self._opening: Fetched[tuple[str, int], DataKey] = Fetched(
            self._to_open, keeping, what="a subject's key", clock=clock
        )

    def __repr__(self) -> str:
        return f"SubjectKeys({self._keys!r}, {self._store!r})"

    def sealing(self, scope: Scope, size: int) -> DataKey | None:
        """The subject's key, if it was fetched before.

        Raises:
            NoSubject: it is nobody's, and `required` is set.
        """
        subject = self._subject(scope)
        return self._keys.sealing(scope, size) if subject is None else self._sealing.peek(subject)

    async def fetch_sealing(self, scope: Scope, size: int) -> DataKey:
        """The subject's key, made if there is none.

        Raises:
            ForgottenSubject: it was forgotten, and may not come back.
            NoSubject: it is nobody's, and `required` is set.
            CodecError: its key can't be had; the sentence says what to do.
        """
        subject = self._subject(scope)
        if subject is None:
            return await self._keys.fetch_sealing(scope, size)
        return await self._sealing.get(_checked(subject))

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey | None:
        """The key that the payload names, if it was fetched before.

        Raises:
            MissingKey: it names no key that could be.
        """
        if not key_id.startswith(PREFIX):
            return self._keys.opening(key_id, wrapped, scope)
        return self._opening.peek(self._named(key_id))

    async def fetch_opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey:
        """The key that the payload names.

        Raises:
            ForgottenSubject: its subject was forgotten.
            MissingKey: there is none of that name in the store.
            CodecError: it can't be had; the sentence says what to do.
        """
        if not key_id.startswith(PREFIX):
            return await self._keys.fetch_opening(key_id, wrapped, scope)
        return await self._opening.get(self._named(key_id))

    async def reachable(self) -> str:
        """Where the store is, if it can be read. A new store is begun.

        Raises:
            CodecError: it can't; the sentence says what to do.
        """
        await self._store.read(await self._store.index(self._binding, "nobody"))
        return self._store.place

    async def forget(self, subject: str, *, admit: bool = False) -> Forgotten:
        """Delete a subject's key for ever. Doing it again changes nothing but whether the subject may come back (`admit`).

        Raises:
            CodecError: it can't be done; the sentence says what to do.
        """
        index, now = await self._store.index(self._binding, _checked(subject)), _now()
        for _ in range(TRIES_MAX):
            found = await self._store.read(index)
            generation = 1 if found is None else found.record.generation
            forgotten = found.record.forgotten if found and isinstance(found.record, ForgottenRecord) else now
            tombstone = ForgottenRecord(index=index, generation=generation, forgotten=forgotten, admits=admit)
            # In the place of just this record: a subject that may come back may have done so since it was read, under a
            # key of the next generation, which is then to be forgotten, too, and whose number must not be given twice.
            if found is None:
                if not await self._store.create(tombstone):
                    continue
            elif found.record != tombstone and not await self._store.exchange(found, tombstone):
                continue
            self._sealing.drop(subject)
            for past in range(1, generation + 1):
                self._opening.drop((index, past))
            return Forgotten(
                key_id=f"{PREFIX}{index}/{generation}",
                known=found is not None and isinstance(found.record, LiveRecord),
                forgotten=forgotten,
            )
        raise KeyRingError(
            f"The record of {subject!r} in {self._store.place} changes all the time; try again."
        )

    async def reseal(self) -> tuple[int, int]:
        """Seal every subject's key under the key that is active now; how many there are, and how many were sealed anew.

        Afterwards the ring's older keys are not needed for them any more. A subject that is forgotten meanwhile stays so.
        """
        seen = changed = 0
        key = await _sealing_key(self._keys)
        async for index in self._store.indexes():
            found = await self._store.read(index)
            if found is None or not isinstance(found.record, LiveRecord):
                continue
            seen += 1
            if found.record.sealed_by == key.id:
                continue
            subject, material = await self._opened(found.record)
            fresh = seal_record(
                subject,
                material,
                index=index,
                generation=found.record.generation,
                created=found.record.created,
                key=key,
            )
            changed += await self._store.exchange(found, fresh)
        return seen, changed

    async def sealed_by(self, key_id: str) -> int:
        """How many subjects' keys need this key."""
        needing = 0
        async for index in self._store.indexes():
            found = await self._store.read(index)
            if found and isinstance(found.record, LiveRecord) and found.record.sealed_by == key_id:
                needing += 1
        return needing

    async def _to_seal(self, subject: str) -> DataKey:
        index = await self._store.index(self._binding, subject)
        for _ in range(TRIES_MAX):
            found = await self._store.read(index)
            if found is not None and isinstance(found.record, LiveRecord):
                _, material = await self._opened(found.record)
                return self._data_key(index, found.record.generation, material)
            if (made := await self._make(subject, index, found)) is not None:
                return made
        raise KeyRingError(f"The record of a subject in {self._store.place} changes all the time.")

    async def _make(self, subject: str, index: str, found: Found | None) -> DataKey | None:
        """A new key; None if another was quicker."""
        generation = 1
        if found is not None:
            assert isinstance(found.record, ForgottenRecord)
            if not found.record.admits:
                raise ForgottenSubject(
                    f"{PREFIX}{index}", when=f"{found.record.forgotten:%Y-%m-%d}", sealing=True
                )
            generation = found.record.generation + 1
            if generation > GENERATION_MAX:
                raise KeyRingError(f"Subject {PREFIX}{index} was forgotten and came back too often.")
        material = KeyMaterial(secrets.token_bytes(KEY_BYTES))
        record = seal_record(
            subject,
            material,
            index=index,
            generation=generation,
            created=_now(),
            key=await _sealing_key(self._keys),
        )
        made = await (self._store.create(record) if found is None else self._store.exchange(found, record))
        return self._data_key(index, generation, material) if made else None

    async def _to_open(self, named: tuple[str, int]) -> DataKey:
        index, generation = named
        found = await self._store.read(index)
        name = f"{PREFIX}{index}/{generation}"
        if found is None or generation > found.record.generation:
            raise self._missing(name)
        record = found.record
        if isinstance(record, ForgottenRecord):
            raise ForgottenSubject(name, when=f"{record.forgotten:%Y-%m-%d}")
        if generation < record.generation:
            raise ForgottenSubject(name, when=f"before {record.created:%Y-%m-%d}")
        _, material = await self._opened(record)
        return self._data_key(index, generation, material)

    async def _opened(self, record: LiveRecord) -> tuple[str, KeyMaterial]:
        key = self._keys.opening(record.sealed_by, record.dek, ANYONE)
        if key is None:
            key = await self._keys.fetch_opening(record.sealed_by, record.dek, ANYONE)
        return open_record(record, key, place=f"{record.index}.json in {self._store.place}")

    def _subject(self, scope: Scope) -> str | None:
        subject = self._subject_of(scope) or None
        if subject is None and self._required:
            raise NoSubject(
                "A payload is of no known subject"
                + (f" (workflow {scope.workflow_id!r})" if scope.workflow_id else " (it says of no workflow)")
                + ", so it could not be forgotten with one, and is not encrypted. Give its workflow an id that the setting "
                "subject matches; or clear subject-required."
            )
        return subject

    def _data_key(self, index: str, generation: int, material: KeyMaterial) -> DataKey:
        return DataKey(
            id=f"{PREFIX}{index}/{generation}", material=material, binding=self._binding, of_subject=True
        )

    def _missing(self, key_id: str) -> MissingKey:
        return MissingKey(
            key_id,
            ring=f"the store of subjects' keys {self._store.place}",
            way_out="Name the store that it was written with (subject-keys), or put it back from a copy of that.",
        )

    def _named(self, key_id: str) -> tuple[str, int]:
        found = _KEY_ID.fullmatch(key_id)
        if found is None:
            raise self._missing(key_id)
        return found[1], int(found[2])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What came of forgetting: `known` is false if there was no key to delete."""

    key_id: str
    known: bool
    forgotten: datetime


async def _sealing_key(keys: Keys) -> DataKey:
    return keys.sealing(ANYONE, KEY_BYTES) or await keys.fetch_sealing(ANYONE, KEY_BYTES)


def _checked(subject: str) -> str:
    if not subject or len(subject) > SUBJECT_CHARACTERS_MAX:
        raise KeyRingError(f"A subject has 1 to {SUBJECT_CHARACTERS_MAX} characters, not {len(subject)}.")
    return subject


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
