"""Queues that nobody polls leave memory, whatever lies in them; what is stored stays."""

from __future__ import annotations

import pytest

from cloud.engine.runtime import task_queues
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.database import Database
from cloud.engine.store.rows import WORKFLOW_TASK
from tests.engine.runtime.harness import engine

KEY = QueueKey("ns-id", "tq", WORKFLOW_TASK)


async def test_a_backlog_that_nobody_polls_leaves_memory_and_is_found_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(database) as found:
        assert not (await found.poll(timeout_s=2.5)).task_token  # from now on its page is in memory
        for n in range(5):
            await found.start(f"wf-{n}")
        queues = found.runtime.queues
        assert len(queues.get(KEY).backlog) == 5
        queues.sweep()
        assert queues.find(KEY) is not None
        monkeypatch.setattr(task_queues, "QUEUE_IDLE_NS", 0)
        queues.sweep()
        assert queues.find(KEY) is None
        given = [(await found.poll()).workflow_execution.workflow_id for _ in range(5)]
        assert given == [f"wf-{n}" for n in range(5)]


async def test_a_namespace_with_very_many_queues_loses_idle_ones_sooner(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queues, "QUEUES_MAX", 10)
    monkeypatch.setattr(task_queues, "CROWDED_QUEUE_IDLE_NS", 0)
    async with engine(database) as found:
        queues = found.runtime.queues
        for n in range(25):
            queues.get(QueueKey("greedy", f"q{n}", WORKFLOW_TASK))
        queues.get(KEY)
        queues.sweep()
        left = [key for key in queues._queues if key.namespace_id == "greedy"]
        assert len(left) == 10
        assert queues.find(KEY) is not None, "others keep theirs"
