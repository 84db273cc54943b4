"""Which stored task comes next: passes of fairness keys, and pages of a backlog against a plain sorted list."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from temporalio.api.common.v1 import Priority

from cloud.engine.core.priority import Rank, rank
from cloud.engine.runtime import backlog as backlogs
from cloud.engine.runtime import fairness
from cloud.engine.runtime.backlog import Backlog
from cloud.engine.runtime.fairness import STRIDE, Passes, stride_of
from cloud.engine.runtime.poller_scaling import AS_IT_IS, MORE, PollerScaling, wanted
from cloud.engine.runtime.queue_rates import QueueRates
from cloud.engine.runtime.rate_limits import NEVER, Rate, RateLimits
from cloud.engine.store.rows import TaskRow, level_of, order_key, pass_of

SECOND = 1_000_000_000


def row(task_id: int, level: int = 3, fair_pass: int = 0, key: str = "") -> TaskRow:
    return TaskRow(task_id, "ns", "tq", 1, "run", 1, 1, task_id, order_key(level, fair_pass), key, STRIDE)


class Stored:
    """What a store does for one queue, with a backlog in front of it."""

    def __init__(self) -> None:
        self.rows: dict[int, TaskRow] = {}
        self.backlog = Backlog()
        self.ids = 0

    def put(self, level: int = 3, key: str = "", weight: float = 1.0) -> TaskRow:
        self.ids += 1
        fair_pass = self.backlog.next_pass(level, key, stride_of(weight), self.ids)
        added = row(self.ids, level, fair_pass, key)
        self.rows[added.task_id] = added
        self.backlog.put(added)
        return added

    def load(self, between: int = 0, level: int = 3) -> None:
        """Read a page; `between`: tasks that come while the store is read."""
        after = self.backlog.begin_load()
        ordered = sorted(self.rows.values(), key=lambda r: (r.order_key, r.task_id))
        page = [r for r in ordered if (r.order_key, r.task_id) > after][: backlogs.PAGE_TASKS_MAX]
        last: dict[tuple[int, str], int] = {}
        for each in ordered:
            last[(level_of(each.order_key), each.fairness_key)] = pass_of(each.order_key)
        for _ in range(between):
            self.put(level)
        self.backlog.end_load(page, [], [(*name, at) for name, at in last.items()])

    def take(self) -> TaskRow | None:
        if self.backlog.must_load:
            self.load()
        taken = self.backlog.take()
        if taken is not None:
            del self.rows[taken.task_id]
        return taken


@pytest.mark.parametrize("seed", range(20))
def test_a_paged_backlog_gives_what_a_sorted_list_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs, "PAGE_TASKS_MAX", 5)
    chance = random.Random(seed)
    stored = Stored()
    for _ in range(600):
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                stored.put(chance.randrange(1, 6), chance.choice("abc"), chance.choice([0.5, 1, 4]))
            case 4 if stored.backlog.must_load:
                stored.load(between=chance.randrange(4), level=chance.randrange(1, 6))
            case 5 if chance.random() < 0.1:
                stored.backlog.forget()
            case 6 if stored.backlog.head is not None:
                taken = stored.backlog.take()
                assert taken is not None
                stored.backlog.put_back(taken)
            case _:
                first = min(stored.rows.values(), key=lambda r: (r.order_key, r.task_id), default=None)
                assert stored.take() == first
        assert len(stored.backlog) <= 2 * backlogs.PAGE_TASKS_MAX
    while stored.rows:
        assert stored.take() is not None
    assert stored.take() is None


def served(stored: Stored, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        taken = stored.take()
        assert taken is not None
        found[taken.fairness_key] += 1
    return found


def test_keys_take_turns_by_their_weights() -> None:
    stored = Stored()
    for _ in range(1_000):
        stored.put(key="heavy")
    for _ in range(100):
        stored.put(key="light")
        stored.put(key="vip", weight=3)
    found = served(stored, 100)
    assert found == {
        "heavy": pytest.approx(20, abs=2),
        "light": pytest.approx(20, abs=2),
        "vip": pytest.approx(60, abs=2),
    }


def test_a_key_that_comes_late_does_not_wait_behind_others_backlogs() -> None:
    stored = Stored()
    for _ in range(5_000):
        stored.put(key="heavy")
    served(stored, 2_000)
    stored.put(key="late")
    assert served(stored, 3)["late"] == 1


def test_a_key_has_no_turns_saved_up() -> None:
    stored = Stored()
    for _ in range(100):
        stored.put(key="heavy")
    served(stored, 90)
    for _ in range(10):
        stored.put(key="late")
    assert served(stored, 10)["late"] in {4, 5, 6}


def test_order_within_a_key_survives_a_restart() -> None:
    stored = Stored()
    before = [stored.put(key="heavy").task_id for _ in range(3_000)]
    before += [stored.put(key="light").task_id for _ in range(3)]
    stored.backlog = Backlog()  # another process, that has not read the store yet
    stored.ids = 1 << 40
    early = stored.put(key="heavy").task_id
    stored.load()
    later = [stored.put(key="heavy").task_id for _ in range(5)]
    light = stored.put(key="light").task_id
    order = []
    while (taken := stored.take()) is not None:
        order.append(taken.task_id)
    heavy = [task_id for task_id in order if task_id in {*before[:3_000], early, *later}]
    assert heavy == sorted(heavy)
    assert order.index(light) < 20


def test_without_keys_the_oldest_comes_first() -> None:
    stored = Stored()
    put = []
    for _ in range(300):
        put.append(stored.put().task_id)
        if len(put) % 3 == 0:
            taken = stored.take()
            assert taken is not None
            assert taken.task_id == put.pop(0)


def test_memory_is_bounded_however_many_keys() -> None:
    passes = Passes(0)
    for number in range(20_000):
        passes.next(f"k{number}", STRIDE)
    assert len(passes._last) <= fairness.KEYS_EXACT_MAX
    assert passes._sketch is not None
    # A key that shares cells may be late, but never ahead of its own tasks.
    at = [passes.next("again", STRIDE) for _ in range(5)]
    assert at == sorted(set(at))


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        (Priority(), Rank()),
        (Priority(priority_key=1), Rank(level=1)),
        (Priority(priority_key=99), Rank(level=5)),
        (Priority(priority_key=-4), Rank()),
        (Priority(fairness_key="k", fairness_weight=2), Rank(fairness_key="k", weight=2)),
        (Priority(fairness_weight=-1), Rank()),
        (Priority(fairness_weight=float("nan")), Rank()),
        (Priority(fairness_weight=1e-9), Rank(weight=0.001)),
        (Priority(fairness_weight=float("inf")), Rank(weight=1_000)),
        (Priority(fairness_key="\x00" + "é" * 40), Rank(fairness_key="é" * 32)),
    ],
)
def test_what_a_priority_means(priority: Priority, expected: Rank) -> None:
    assert rank(priority) == expected
    assert stride_of(expected.weight) >= 1


def test_a_rate_is_kept_to_the_token() -> None:
    limits = RateLimits()
    limits.set(Rate(10), None, {}, 0.0)
    now, gone = 100.0, []
    while len(gone) < 40:
        at = limits.ready_at("", now)
        now = max(now, at)
        limits.spend("", 1.0, now)
        gone.append(now)
    assert sum(at == 100.0 for at in gone) == 11
    assert gone[-1] == pytest.approx(102.9)
    limits.set(Rate(0), None, {}, now)
    assert limits.ready_at("", now) == NEVER
    limits.set(Rate(2), None, {}, now)
    assert limits.ready_at("", now) <= now + 0.5


def test_rates_are_of_the_last_half_minute() -> None:
    rates = QueueRates(0)
    assert rates.rates(SECOND) == {}
    for second in range(0, 120, 5):
        rates.mark(second * SECOND)
        rates.added[3] += 10
        rates.dispatched[3] += 5
    added, dispatched = rates.total(120 * SECOND)
    assert added == pytest.approx(2, rel=0.2)
    assert dispatched == pytest.approx(1, rel=0.2)
    for second in range(120, 200, 5):
        rates.mark(second * SECOND)
    assert rates.total(200 * SECOND) == (0, 0)
    assert len(rates._marks) < 10


def test_more_polls_are_asked_for_only_so_often() -> None:
    scaling = PollerScaling()
    said = sum(scaling.may_look(at / 1000, 2) for at in range(1000))
    assert 18 <= said <= 24
    assert wanted(backlog_age=SECOND, added=0, dispatched=0) == MORE
    assert wanted(backlog_age=0, added=13, dispatched=10) == MORE
    assert wanted(backlog_age=SECOND // 10, added=11, dispatched=10) == AS_IT_IS
    assert wanted(backlog_age=0, added=0, dispatched=0) == AS_IT_IS
