"""Which objects nothing points to any more, and when they may go: the rules, without I/O.

Objects are written by workers that run beside a collection, and nobody locks anything. This is why nothing that the service
shows a reference to is ever deleted.

**Words.** An object is *used* by a client that writes it, or finds it there and so does not write it; a reference to it then
reaches a history at most `grace` later (an update waits for a worker, a call is tried again: the grace period is longer than
anybody waits for a call to be taken, a week unless told otherwise), or never. A *walk* reads every history, schedule and
standalone execution that a namespace has. All times are the store's, as far as it has a clock that can be asked.

**Use ends with the day.** An object's name has the day in it, and clients use names of the current day only (see
`references`). So an object is not used after `idle_since` = the end of its day, or when it was last written if that is later
(a client whose clock is wrong, an object of an older Tacit without a day).

**First phase.** A walk began at s. An object with `idle_since + grace <= s` that the walk did not meet is *marked*, with the
time. Its uses are all older than grace, so each reference that there will ever be was in the service when the walk began.
The service moves references by itself afterwards (a schedule starts a workflow, a child returns a result, a run continues
as new or is reset, and then the source is deleted). A walk may read the target before the move and miss the source after it;
hence each walk goes over the open executions a second time (`gc_walk`). It takes two moves of one reference during one walk,
the source deleted by hand each time before it is read, to hide it.

**Second phase.** An object that was marked at least `grace` ago, that a new walk has not met either, and that has not been
written since it was marked, is *due* and is deleted. So what a walk missed because the service lists new executions late, it
would have to miss again a grace period later.

**Between the check and the deletion** nothing can happen to a due object: whoever writes the same content now writes it under
another name, that of today. That is what the day in the name is for: no lock, no waiting, no conditional deletion.

What remains to be true: clients' clocks differ from the store's by much less than `grace` (S3 itself refuses a client that is
a quarter of an hour off), a prefix belongs to one namespace of one service, and who reads another namespace's objects has
said so (`readers`). Files of handles have no day in their ids; an upload that goes on writes anew, and so is left alone for
`grace` after. And the service tells the truth: a history that it hides points to nothing (`gc_sense` has what is done about
that).

The marks are an object in the store, `v1/ns/<namespace>/gc/marks`: zstd over JSON, version 1::

    {"version": 1, "marks": [[key, size, modified, marked], ...], "schedules": {id: [run id, [sha256, ...]]},
     "showed": {namespace: [workflows, schedules, standalone, [absent kind, ...]]}}

`key` is an object's path or a file's URI, the times are RFC 3339. It may grow by fields; a reader takes another version for
none, which only begins the grace period anew. `schedules`: see `gc_schedules`; `showed`, of the last run: see `gc_sense`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta

import zstandard

from codec.errors import OffloadError
from codec.storage.references import read_path

GRACE = timedelta(days=7)
GRACE_MIN = timedelta(hours=1)
MARKS_MAX = 500_000
"""How many objects are marked at one time; the others are, in a later run."""

_VERSION = 1
_MARKS_BYTES_MAX = 512 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object in the store, or all objects of a file. `key` is its path, or the file's URI; `size` is in bytes."""

    key: str
    size: int
    modified: datetime
    objects: int = 1

    @property
    def idle_since(self) -> datetime:
        """From when on no client has used it."""
        name = read_path(self.key)
        if name is None or name[1] is None:
            return self.modified
        day_ends = datetime.combine(name[1] + timedelta(days=1), time(), UTC)
        return max(self.modified, day_ends)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """That an object was found to be pointed to by nothing, and how it was then."""

    size: int
    modified: datetime
    marked: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Showed:
    """What a service showed of a namespace in one run: how many of each kind, and which kinds it said that it has not."""

    workflows: int = 0
    schedules: int = 0
    standalone: int = 0
    absent: tuple[str, ...] = ()

    def __add__(self, other: Showed) -> Showed:
        return Showed(
            workflows=self.workflows + other.workflows,
            schedules=self.schedules + other.schedules,
            standalone=self.standalone + other.standalone,
            absent=tuple(sorted({*self.absent, *other.absent})),
        )


@dataclasses.dataclass(kw_only=True)
class Memory:
    """What one collection leaves for the next: marks by key, the last results that schedules hold by schedule, and what
    services showed by namespace."""

    marks: dict[str, Mark] = dataclasses.field(default_factory=dict)
    schedules: dict[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    showed: dict[str, Showed] = dataclasses.field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As it lies in the store."""
        marks = [
            [key, mark.size, mark.modified.isoformat(), mark.marked.isoformat()]
            for key, mark in self.marks.items()
        ]
        showed = {
            namespace: [one.workflows, one.schedules, one.standalone, one.absent]
            for namespace, one in self.showed.items()
        }
        document = {"version": _VERSION, "marks": marks, "schedules": self.schedules, "showed": showed}
        return zstandard.compress(json.dumps(document, separators=(",", ":")).encode())

    @classmethod
    def of(cls, content: bytes) -> Memory:
        """Read it. What is damaged, or of another version, is as if there were none: the grace period begins anew."""
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(content)
            document = json.loads(reader.read(_MARKS_BYTES_MAX))
            if document["version"] != _VERSION:
                return cls()
            return cls(
                marks={
                    str(key): Mark(size=int(size), modified=_time(modified), marked=_time(marked))
                    for key, size, modified, marked in document["marks"]
                },
                schedules={
                    str(schedule): (str(run), tuple(str(one) for one in digests))
                    for schedule, (run, digests) in document["schedules"].items()
                },
                # Absent from what older ones left.
                showed={
                    str(namespace): Showed(
                        workflows=int(workflows),
                        schedules=int(schedules),
                        standalone=int(standalone),
                        absent=tuple(str(kind) for kind in absent),
                    )
                    for namespace, (workflows, schedules, standalone, absent) in document.get(
                        "showed", {}
                    ).items()
                },
            )
        except (zstandard.ZstdError, ValueError, KeyError, TypeError, AttributeError):
            return cls()


@dataclasses.dataclass(kw_only=True)
class Tally:
    """How many objects there are of a kind, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def add(self, one: Stored) -> None:
        """Count `one`."""
        self.objects += one.objects
        self.bytes += one.size


@dataclasses.dataclass(kw_only=True)
class Plan:
    """What is to be done with the objects of one namespace.

    `all` = `referenced` + `young` (used less than the grace period ago) + `held` (a schedule may hold them) + `waiting`
    (marked, now or before, and not due yet; `newly_marked` of them now) + `unmarked` (above `MARKS_MAX`) + `due_tally`.
    """

    all: Tally = dataclasses.field(default_factory=Tally)
    referenced: Tally = dataclasses.field(default_factory=Tally)
    young: Tally = dataclasses.field(default_factory=Tally)
    held: Tally = dataclasses.field(default_factory=Tally)
    waiting: Tally = dataclasses.field(default_factory=Tally)
    newly_marked: Tally = dataclasses.field(default_factory=Tally)
    unmarked: Tally = dataclasses.field(default_factory=Tally)
    due_tally: Tally = dataclasses.field(default_factory=Tally)
    due: list[Stored] = dataclasses.field(default_factory=list)
    marks: dict[str, Mark] = dataclasses.field(default_factory=dict)
    next_due: datetime | None = None


def plan(
    stored: Iterable[Stored],
    *,
    referenced: Collection[str],
    marks: Mapping[str, Mark],
    began: datetime,
    grace: timedelta,
    held_from: datetime | None = None,
) -> Plan:
    """What is to be done with what the store has, listed after a walk that `began` and met `referenced`.

    `referenced` has the SHA-256 of objects and the URIs of files. What may have been used at `held_from` or later is kept.

    Raises:
        OffloadError: the grace period is too short to be safe.
    """
    check_grace(grace)
    done = Plan()
    for one in stored:
        done.all.add(one)
        before = marks.get(one.key)
        if name_in_references(one.key) in referenced:
            done.referenced.add(one)
        elif one.idle_since + grace > began:
            done.young.add(one)
        elif held_from is not None and one.idle_since >= held_from:
            done.held.add(one)
        elif before is None or (before.modified, before.size) != (one.modified, one.size):
            if len(done.marks) >= MARKS_MAX:
                done.unmarked.add(one)
                continue
            done.marks[one.key] = Mark(size=one.size, modified=one.modified, marked=began)
            done.newly_marked.add(one)
            _wait(done, one, began + grace)
        else:
            done.marks[one.key] = before
            if before.marked + grace <= began:
                done.due.append(one)
                done.due_tally.add(one)
            else:
                _wait(done, one, before.marked + grace)
    return done


def name_in_references(key: str) -> str:
    """How histories name what has this key: an object by its hash, a file by its URI."""
    name = read_path(key)
    return key if name is None else name[2]


def check_grace(grace: timedelta) -> None:
    """Raise if objects could be deleted that are in use.

    Raises:
        OffloadError: the grace period is too short.
    """
    if grace < GRACE_MIN:
        raise OffloadError(
            "A grace period below an hour is not safe: calls that are under way hold references that no history has yet."
        )


def _wait(done: Plan, one: Stored, due: datetime) -> None:
    done.waiting.add(one)
    done.next_due = due if done.next_due is None else min(done.next_due, due)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
