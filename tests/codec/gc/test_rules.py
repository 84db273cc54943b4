"""What may be deleted, and when: the rules alone, and in every order of events that a simulation comes up with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import OffloadError
from codec.storage.gc import GRACE_MIN, Mark, Memory, Stored, plan
from codec.storage.references import object_path, today

DAY = timedelta(days=1)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
GRACE = timedelta(days=2)


def digest(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def stored(content: object = "a", *, written: datetime = NOON, size: int = 10) -> Stored:
    return Stored(
        key=object_path("orders.acme", today(written), digest(content)), size=size, modified=written
    )


class TestOneObject:
    def test_its_life_ends_two_grace_periods_after_its_day(self) -> None:
        one, marks, deleted_on = stored(), {}, None
        for hours in range(0, 24 * 10, 6):
            done = plan(
                [one], referenced=set(), marks=marks, began=NOON + timedelta(hours=hours), grace=GRACE
            )
            marks = done.marks
            if done.due:
                deleted_on = hours
                break
            assert done.young.objects + done.waiting.objects == 1
        # Twelve hours to the day's end, two days until it is marked, two more until it goes.
        assert deleted_on == 12 + 48 + 48

    def test_one_that_is_referred_to_is_kept_and_loses_its_mark(self) -> None:
        one = stored()
        marks = {one.key: Mark(size=10, modified=NOON, marked=NOON)}
        done = plan([one], referenced={digest("a")}, marks=marks, began=NOON + 30 * DAY, grace=GRACE)
        assert (done.referenced.objects, done.due, done.marks) == (1, [], {})

    def test_one_that_was_written_again_is_marked_anew(self) -> None:
        one, later = stored(), NOON + 30 * DAY
        marks = {one.key: Mark(size=10, modified=NOON, marked=NOON)}
        again = dataclasses.replace(one, modified=later)
        done = plan([again], referenced=set(), marks=marks, began=later + GRACE, grace=GRACE)
        assert (done.due, done.marks[one.key].marked) == ([], later + GRACE)

    def test_what_a_schedule_may_hold_is_kept(self) -> None:
        old, new = stored("old"), stored("new", written=NOON + 5 * DAY)
        marks = {one.key: Mark(size=10, modified=one.modified, marked=one.modified) for one in (old, new)}
        done = plan(
            [old, new],
            referenced=set(),
            marks=marks,
            began=NOON + 90 * DAY,
            grace=GRACE,
            held_from=NOON + 5 * DAY,
        )
        assert (done.due, done.held.objects) == ([old], 1)

    def test_a_short_grace_period_is_refused(self) -> None:
        with pytest.raises(OffloadError, match="not safe"):
            plan([], referenced=set(), marks={}, began=NOON, grace=GRACE_MIN / 2)


def test_counts_add_up_and_files_go_by_their_uri() -> None:
    uri = f"tacit-file:v1:orders.acme:{'a' * 32}"
    file = Stored(key=uri, size=100, modified=NOON, objects=3)
    began = NOON + 10 * DAY
    done = plan(
        [stored("kept"), stored("gone"), file, stored("new", written=began)],
        referenced={digest("kept")},
        marks={},
        began=began,
        grace=GRACE,
    )
    parts = (done.referenced, done.young, done.held, done.waiting, done.unmarked, done.due_tally)
    assert sum(part.objects for part in parts) == done.all.objects == 6
    assert sum(part.bytes for part in parts) == done.all.bytes == 130
    assert done.newly_marked.objects == 4
    assert done.next_due == began + GRACE
    done = plan([file], referenced={uri}, marks=done.marks, began=began + GRACE, grace=GRACE)
    assert done.referenced.objects == 3


def test_marks_are_read_as_they_were_written() -> None:
    memory = Memory(
        marks={"path": Mark(size=3, modified=NOON, marked=NOON + DAY)},
        schedules={"nightly": ("run", (digest("a"), digest("b")))},
    )
    assert Memory.of(memory.to_bytes()) == memory


@given(content=st.binary(max_size=200), cut=st.integers(0, 60))
def test_damaged_marks_are_none(content: bytes, cut: int) -> None:
    whole = Memory(marks={"path": Mark(size=3, modified=NOON, marked=NOON)}).to_bytes()
    assert Memory.of(content) == Memory()
    assert Memory.of(whole[:-1][: len(whole) - cut]) in (Memory(), Memory.of(whole))


@dataclasses.dataclass
class World:
    """A store, a service and clients; time goes by when somebody says so."""

    now: datetime = NOON
    objects: dict[str, datetime] = dataclasses.field(default_factory=dict)
    runs: dict[int, set[str]] = dataclasses.field(default_factory=dict)
    listed_from: dict[int, datetime] = dataclasses.field(default_factory=dict)
    on_their_way: list[tuple[datetime, str]] = dataclasses.field(default_factory=list)
    uploads: list[str] = dataclasses.field(default_factory=list)
    next_run: int = 0
    hidden_moves: int = 0

    def use(self, content: int, finish: bool) -> None:
        """A client looks for an object under today's name, and writes it, perhaps later, if it is not there."""
        path = object_path("orders.acme", today(self.now), digest(content))
        if path in self.objects:
            self.on_their_way.append((self.now, path))
        elif finish:
            self._write(path)
        else:
            self.uploads.append(path)

    def _write(self, path: str) -> None:
        self.objects[path] = self.now
        self.on_their_way.append((self.now, path))

    def finish_uploads(self) -> None:
        """An upload takes a minute at most, and may end on the next day."""
        for path in self.uploads:
            self._write(path)
        self.uploads.clear()

    def arrive(self, run: int | None, listed_after: timedelta) -> None:
        """The oldest reference that is on its way reaches a run, or a new one, which lists show a while later."""
        if not self.on_their_way:
            return
        _, path = self.on_their_way.pop(0)
        if run not in self.runs:
            run, self.next_run = self.next_run, self.next_run + 1
            self.runs[run] = set()
            self.listed_from[run] = self.now + listed_after
        self.runs[run].add(path)

    def move(self, source: int, target: int, delete: bool) -> None:
        """The service copies what a run has to another, and somebody deletes the first at once, perhaps."""
        if source not in self.runs or source == target:
            return
        if target not in self.runs:
            target, self.next_run = self.next_run, self.next_run + 1
            self.runs[target] = set()
            self.listed_from[target] = self.now + timedelta(hours=1)
        self.runs[target] |= self.runs[source]
        if delete and not self.hidden_moves:
            self.hidden_moves += 1
            self.end(source)

    def end(self, run: int) -> None:
        """A run's retention is over, or it is deleted."""
        self.runs.pop(run, None)

    def wait(self, duration: timedelta) -> None:
        """Time goes by; a call that nobody has taken within the grace period is given up."""
        self.finish_uploads()
        self.now += duration
        self.on_their_way = [one for one in self.on_their_way if one[0] + GRACE > self.now]

    def in_use(self) -> set[str]:
        """Objects that somebody has, or may come to have, a reference to."""
        return {path for run in self.runs.values() for path in run} | {path for _, path in self.on_their_way}

    def listed(self) -> list[int]:
        """The runs that lists show."""
        return [run for run in self.runs if self.listed_from[run] <= self.now]


def collection(world: World, memory: Memory) -> Iterator[None]:
    """One collection, as `gc_run` does it; anything may happen wherever it stops."""
    began, met = world.now, set[str]()
    world.hidden_moves = 0
    for _ in range(2):
        for run in world.listed():
            yield
            met |= {path.rpartition("/")[2] for path in world.runs.get(run, ())}
    yield
    found = [Stored(key=path, size=1, modified=modified) for path, modified in world.objects.items()]
    done = plan(found, referenced=met, marks=memory.marks, began=began, grace=GRACE)
    yield
    memory.marks = Memory.of(Memory(marks=done.marks).to_bytes()).marks
    for one in done.due:
        yield
        world.objects.pop(one.key, None)


RUNS = st.integers(0, 5)
HOURS = st.sampled_from([timedelta(minutes=1), timedelta(hours=5), DAY, 2 * DAY, 3 * DAY])
EVENTS = st.one_of(
    st.tuples(st.just("collect"), st.integers(1, 12)),
    st.tuples(st.just("use"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("arrive"), st.none() | RUNS, st.sampled_from([timedelta(0), timedelta(hours=1)])),
    st.tuples(st.just("move"), RUNS, RUNS, st.booleans()),
    st.tuples(st.just("end"), RUNS),
    st.tuples(st.just("wait"), HOURS),
)


@settings(max_examples=1500, deadline=None)
@given(events=st.lists(EVENTS, max_size=60))
def test_nothing_in_use_is_ever_deleted(events: list[tuple]) -> None:  # type: ignore[type-arg]
    world, memory = World(), Memory()
    running: Iterator[None] = iter(())
    for event, *arguments in events:
        if event == "collect":
            for _ in range(arguments[0]):
                try:
                    next(running)
                except StopIteration:
                    running = collection(world, memory)
        else:
            getattr(world, event)(*arguments)
        assert world.in_use() <= world.objects.keys()


def test_the_simulation_would_find_names_without_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the day in the name is for: without it, an object is used again just before it is deleted."""
    monkeypatch.setattr("tests.codec.gc.test_rules.today", lambda moment: NOON.date())
    world, memory = World(), Memory()
    world.use(1, True)
    world.on_their_way.clear()
    for _ in range(2):
        world.wait(5 * DAY)
        running = collection(world, memory)
        while world.objects:
            next(running, None)
            if memory.marks and all(mark.marked + GRACE <= world.now for mark in memory.marks.values()):
                world.use(1, True)
                world.arrive(None, timedelta(0))
            if next(running, "over") == "over":
                break
    assert not world.in_use() <= world.objects.keys()


def test_everything_goes_in_the_end() -> None:
    world, memory = World(), Memory()
    for content in range(20):
        world.use(content, True)
        world.arrive(None, timedelta(0))
    for run in list(world.runs)[:15]:
        world.end(run)
    for _ in range(3):
        world.wait(3 * DAY)
        list(collection(world, memory))
    assert len(world.objects) == 5
    assert world.in_use() == world.objects.keys()
