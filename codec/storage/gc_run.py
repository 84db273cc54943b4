"""A whole collection: walk the namespaces, look what lies in the stores, mark, and delete what is due.

Order matters. The time is taken first, then come the walks, then the lists of the stores: what is written meanwhile is young,
and not marked. Marks are stored before anything is deleted. Nothing is written or deleted until everything was read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from codec.errors import OffloadError
from codec.storage.gc import GRACE, Memory, Plan, Showed, Tally, check_grace, plan
from codec.storage.gc_references import Opened, References
from codec.storage.gc_schedules import held_by
from codec.storage.gc_sense import doubts_of_plan, doubts_of_service, refers_to_nothing
from codec.storage.gc_store import GcStore
from codec.storage.gc_walk import Seen, Walk
from codec.storage.readers import readers_of
from codec.storage.references import read_path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A namespace of a service, whose references count, and where its objects lie if they are to be collected.

    `service` is a client's `workflow_service`. `opened` opens its payloads, to look for files that they name.
    """

    service: Any
    namespace: str
    store: GcStore | None
    opened: Opened | None = None


@dataclasses.dataclass(kw_only=True)
class Collected:
    """What was found and done for one namespace's objects. `doubts` are why nothing would be deleted unless told to."""

    namespace: str
    store: str
    seen: Seen
    plan: Plan
    deleted: Tally = dataclasses.field(default_factory=Tally)
    held_by_schedules: dict[str, datetime] = dataclasses.field(default_factory=dict)
    unreadable: int = 0
    doubts: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to collect. Without `delete` nothing is written: the report says what would be.

    The others are what a person says to know: that nothing refers to any object, that what is odd (`gc_sense`) has its
    reasons, that other namespaces don't read these objects.
    """

    delete: bool = False
    grace: timedelta = GRACE
    other_drivers: Collection[str] = ()
    accept_no_references: bool = False
    accept_unusual: bool = False
    accept_unknown_readers: bool = False


async def collect(
    sources: Sequence[Source],
    options: Options,
    *,
    progress: Callable[[str], None] = lambda text: None,
    clock: Callable[[], datetime] | None = None,
) -> list[Collected]:
    """Collect the objects of all `sources` that have a store. `clock` stands in for the stores' own time.

    Raises:
        WalkFailed: something of a namespace can't be read; nothing was deleted.
        UnknownReference: something points to what is not understood; nothing was deleted.
        OffloadError: a store refuses or can't be reached, or it would not be safe; the sentence says why. What was deleted
            before a store failed was due.
    """
    check_grace(options.grace)
    collected = [source.store for source in sources if source.store is not None]
    for store in collected:
        await _check_readers(store, sources, options)
    began = {}
    for store in collected:
        if clock is not None:
            began[store] = clock()
        else:
            began[store] = await store.now() if options.delete else datetime.now(UTC)
    met: set[str] = set()
    walks: list[tuple[Source, Seen, References]] = []
    for source in sources:
        references = References(other_drivers=options.other_drivers, opened=source.opened)

        def told(seen: Seen, source: Source = source) -> None:
            progress(f"{source.namespace}: {seen.executions} workflows, {seen.events} events read")

        walk = Walk(source.service, source.namespace, references, progress=told)
        walks.append((source, await walk.run(), references))
        met |= references.met
    memories = {store: await store.remembered() for store in collected}
    showed: dict[str, Showed] = {}
    for source, seen, _ in walks:
        showed[source.namespace] = showed.get(source.namespace, Showed()) + seen.showed()
    results = []
    # What a schedule of any namespace holds may lie under the prefix of another (a Nexus operation's result).
    held_since: dict[str, datetime] = {}
    for source, seen, _ in walks:
        memory = memories[source.store] if source.store is not None else Memory()
        remember = {}
        for schedule, actions in seen.actions.items():
            held = held_by(actions, seen.chains, memory.schedules.get(schedule))
            met |= held.hashes
            if held.since is not None:
                held_since[f"{source.namespace}/{schedule}"] = held.since
            if held.remember is not None:
                remember[schedule] = held.remember
        memory.schedules = remember
    for source, seen, references in walks:
        if source.store is None:
            continue
        progress(f"{source.namespace}: listing {source.store.store.place}")
        done = plan(
            [one async for one in source.store.stored()],
            referenced=met,
            marks=memories[source.store].marks,
            began=began[source.store],
            grace=options.grace,
            held_from=min(held_since.values(), default=None),
        )
        place, before = source.store.store.place, memories[source.store].showed
        results.append(
            Collected(
                namespace=source.namespace,
                store=place,
                seen=seen,
                plan=done,
                held_by_schedules=held_since if done.held.objects else {},
                unreadable=references.unreadable,
                doubts=[
                    doubt
                    for namespace, now in showed.items()
                    for doubt in doubts_of_service(namespace, now, before.get(namespace))
                ]
                + doubts_of_plan(source.namespace, place, done),
            )
        )
    if options.delete:
        _check_sense(results, options)
        for store, one in zip(collected, results, strict=True):
            memories[store].showed |= showed
            await _carry_out(store, one, memories[store], progress)
    return results


async def _carry_out(store: GcStore, one: Collected, memory: Memory, progress: Callable[[str], None]) -> None:
    # Files that this time nobody looked for keep their marks.
    kept = {} if store.files else {key: mark for key, mark in memory.marks.items() if read_path(key) is None}
    memory.marks = one.plan.marks | kept
    await store.remember(memory)
    async for gone in store.delete(one.plan.due):
        one.deleted.add(gone)
        del memory.marks[gone.key]
        progress(f"{one.namespace}: {one.deleted.objects} objects deleted")
    if one.deleted.objects:
        await store.remember(memory)


async def _check_readers(store: GcStore, sources: Sequence[Source], options: Options) -> None:
    if options.accept_unknown_readers:
        return
    walked = {source.namespace for source in sources}
    missing = [one for one in await readers_of(store.store, store.namespace) if one not in walked]
    if missing:
        raise OffloadError(
            f"Workflows of {', '.join(map(repr, missing))} may refer to objects of {store.namespace!r} in {store.store.place}: "
            "give a profile of each too (--profile), or remove the object "
            f"v1/ns/{missing[0]}/reads/{store.namespace} if it reads them no more."
        )


def _check_sense(results: Sequence[Collected], options: Options) -> None:
    """Refuse to go on where a service that lies, or is the wrong one, would look like this."""
    for one in results:
        if not options.accept_no_references and refers_to_nothing(one.plan):
            raise OffloadError(
                f"Nothing in {one.namespace!r} refers to any of the {one.plan.all.objects} objects in {one.store}: is this the "
                "service whose workflows wrote them? If so, say so (--all-unreferenced). Nothing is deleted."
            )
        if one.doubts and not options.accept_unusual:
            raise OffloadError(f"{' '.join(one.doubts)} Nothing is deleted.")
