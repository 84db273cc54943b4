"""Stores a run from elsewhere as one of our own, whole and in one transaction, and offers its waiting tasks to workers."""

from __future__ import annotations

from cloud.engine.core import callback, machine
from cloud.engine.core.importing import Imported
from cloud.engine.core.state import RUNNING
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.rows import CurrentRun

_RUN = "\0run:"
"""Before a run's id where workflow ids are locked: no workflow id has a NUL."""


class RunExists(Exception):
    """The run is here already, in this namespace or another."""


class WorkflowIdTaken(Exception):
    """Another run of the same workflow id is open."""


class Importing:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def store(self, namespace: Namespace, imported: Imported) -> HotRun:
        """Make `imported` a run of `namespace`. What is returned is durable.

        Raises:
            RunExists: it is one already.
            WorkflowIdTaken: another run of its workflow id is open.
            Unflushed: it did not become durable; the same call may succeed in a moment.
        """
        runtime, execution = self._runtime, imported.execution
        key = execution.key
        async with (
            runtime.id_locks.held("", _RUN + key.run_id),
            runtime.id_locks.held(key.namespace_id, key.workflow_id),
        ):
            try:
                await runtime.runs.get(key.run_id)
            except NoSuchRun:
                pass
            else:
                raise RunExists(f"run {key.run_id} is here already")
            current = await runtime.runs.current(key.namespace_id, key.workflow_id)
            if execution.running and current is not None and current.status == RUNNING:
                raise WorkflowIdTaken(
                    f"workflow {key.workflow_id!r} is running here, with run id {current.run_id}: end it first"
                )
            runtime.runs.require_room(key.namespace_id)
            hot = HotRun(execution, namespace)
            newest = current is None or (
                current.status != RUNNING and current.start_time <= execution.start_time
            )
            self._put(hot, imported, newest=newest)
        await runtime.durable(hot)
        return hot

    def _put(self, hot: HotRun, imported: Imported, *, newest: bool) -> None:
        """All of it in one piece: nothing is awaited."""
        runtime, execution = self._runtime, hot.execution
        key = execution.key
        if not runtime.namespaces.serves(key.namespace_id):
            raise Unflushed("the namespace is being deleted; try again")
        runtime.check_held_up(key.run_id)
        runtime.runs.add(hot)
        batch = runtime.touch(hot)
        batch.events[key.run_id] = imported.events
        batch.visible.add(key.run_id)
        for scheduled_event_id, pending in execution.activities.items():
            batch.progress[(key.run_id, scheduled_event_id)] = pending.progress
        hot.has_progress_rows = bool(execution.activities)
        for index, found in enumerate(execution.callbacks):
            batch.nexus_progress[(key.run_id, callback.progress_key(index))] = found.progress
        hot.has_nexus_rows = bool(execution.callbacks)
        hot.tail.extend(imported.events)
        if newest:
            runtime.set_current(
                batch,
                CurrentRun(
                    key.namespace_id,
                    key.workflow_id,
                    key.run_id,
                    execution.started.first_execution_run_id or key.run_id,
                    execution.status,
                    execution.volatile.start_request_id,
                    execution.start_time,
                ),
            )
        if not execution.running:
            runtime.runs.closed(hot)
        for task in machine.waiting_tasks(execution):
            runtime.carry_out(hot, task)
