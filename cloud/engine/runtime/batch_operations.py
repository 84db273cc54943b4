"""Batch operations: one job that does the same to many runs (or standalone activities), one after the other, at a bounded rate.

What a job does to a run and how far the job is then are one transaction: a crash neither leaves a run out nor does it twice. A job
waits for no flush; should one fail, it goes on from what is stored. Runs that a query finds are passed in the order of lists, by a
cursor that stands behind the last one; an operation that changes a run's place in that order may meet it once more, and finds
nothing left to do.

    begin ──▶ row RUNNING ──step by step──▶ COMPLETED
                 └──stop, or a query that is none any more──▶ FAILED
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from temporalio.api.enums.v1 import BatchOperationState
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest

from cloud.engine.runtime.batch_targets import Targets
from cloud.engine.runtime.commits import Batch, HeldUp, Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.batch_operations import (
    RUNNING,
    BatchProgress,
    decode_batch_progress,
    delete_old_batch_operations,
    encode_batch_progress,
    list_batch_operations,
    read_batch_operation,
    read_running_batch_operations,
)
from cloud.engine.store.database import ListRefused, StoreUnavailable, TooManyLists
from cloud.engine.store.rows import BatchOperationRow, BatchStepRow, Rows
from cloud.engine.store.schema import visibility
from cloud.engine.store.visibility import cursor_after
from cloud.engine.store.visibility_attributes import AttributeTypes
from cloud.engine.store.visibility_filter import FilterError, ListFilter

log = structlog.get_logger(__name__)

COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
FAILED = BatchOperationState.BATCH_OPERATION_STATE_FAILED

PAGE_RUNS = 100
RETRY_S = 1.0
RUN_RETRY_S = 0.05
OLD_ONES_INTERVAL_S = 600.0

Key = tuple[str, str]
"""(namespace id, job id)."""

Perform = Callable[[Any, "Job"], "str | Awaitable[str]"]
"""Does a job's operation to a run, or to another thing in memory that is its target.

Returns why it can't be done, empty if it was, or had no need to be.

What must not be done twice is done before it first awaits, or at all if it returns a plain text.
"""


@dataclass(slots=True, eq=False)
class Job:
    """A batch operation in memory. `unflushed` is the batch that holds its newest step."""

    row: BatchOperationRow
    request: StartBatchOperationRequest
    progress: BatchProgress
    state: int = RUNNING
    close_time: int = 0
    unflushed: Batch | None = None
    next_at: float = 0.0  # of the loop's clock: when the rate allows the next step

    @classmethod
    def of(cls, row: BatchOperationRow) -> Job:
        """The job that a row holds."""
        return cls(
            row,
            StartBatchOperationRequest.FromString(row.definition),
            decode_batch_progress(row.progress),
            row.state,
            row.close_time,
        )

    @property
    def key(self) -> Key:
        """Names the job."""
        return self.row.namespace_id, self.row.job_id

    @property
    def unflushed_failed(self) -> bool:
        """Whether its newest step is lost."""
        durable = None if self.unflushed is None else self.unflushed.durable
        return durable is not None and durable.done() and durable.exception() is not None


class _Lost(Exception):
    """A flush failed that held steps of the job."""


class JobExists(Exception):
    """There is a job of this id."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"batch operation {job.row.job_id} exists")
        self.job = job


class TooManyJobs(Exception):
    """As many jobs run in the namespace as may."""


class NoSuchJob(Exception):
    """There is no job of this id."""


class JobEnded(Exception):
    """The job does not run any more."""


@dataclass(slots=True)
class _Runner:
    task: asyncio.Task[None]
    job: Job | None = None


@dataclass(slots=True)
class _Target:
    """What a job comes to (a workflow's id stands for that of an activity, too), and where it stands once that is done."""

    workflow_id: str
    run_id: str
    cursor: bytes = b""


@dataclass(slots=True)
class BatchOperations:
    """Runs the jobs of a cell. A companion of the runtime."""

    runtime: Runtime
    perform: Perform
    targets: Callable[[StartBatchOperationRequest], Targets]
    open_only: Callable[[StartBatchOperationRequest], bool]
    """Whether an operation is for open runs only."""

    needs_all: Callable[[StartBatchOperationRequest], bool]
    """Whether a run that is not there (any more) is a failure; else it has no need of the operation."""

    _runners: dict[Key, _Runner] = field(default_factory=dict)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    # --- life, with the runtime's ---

    async def start(self) -> None:
        """Go on with what a stop or a crash cut off."""
        self.runtime.spawn(self._remove_old_ones(), "old-batch-operations")
        for key in await self.runtime.database.scan(read_running_batch_operations):
            self._run(key)

    async def stop(self) -> None:
        """Stop between two steps."""
        for runner in self._runners.values():
            runner.task.cancel()

    def flushed(self, rows: Rows) -> None:
        """Nothing waits for a flush here."""

    def forget(self) -> None:
        """A flush failed: each job sees so by its own newest step."""

    # --- what callers ask for ---

    async def begin(self, namespace: Namespace, request: StartBatchOperationRequest) -> None:
        """Start a job. It is durable when this returns.

        Raises:
            TooManyJobs: as many run as may.
            JobExists: its id is taken.
            FilterError: its query is none.
        """
        runtime = self.runtime
        if request.visibility_query:
            self._filter(namespace, request)
        async with self._starting:
            running = sum(
                key[0] == namespace.namespace_id and (runner.job is None or runner.job.state == RUNNING)
                for key, runner in self._runners.items()
            )
            if running >= runtime.limits.batch_operations:
                raise TooManyJobs
            found = await self._read((namespace.namespace_id, request.job_id))
            if found is not None:
                raise JobExists(found)
            progress = BatchProgress(total=len(request.executions) + len(request.target_executions))
            row = BatchOperationRow(
                namespace.namespace_id,
                request.job_id,
                runtime.ids.run_id(),
                RUNNING,
                runtime.clock.now(),
                0,
                request.SerializeToString(),
                encode_batch_progress(progress),
            )
            batch = runtime.commits.touch()
            batch.batch_operations.append(row)
            key = (row.namespace_id, row.job_id)
            self._run(key, after=batch)  # whatever becomes of the caller
            try:
                await asyncio.shield(batch.durable)
            except Unflushed:
                self._runners.pop(key, None)  # it finds nothing to work on
                raise

    async def end(self, namespace: Namespace, job_id: str) -> None:
        """Stop a job: what is done stays done.

        Raises:
            NoSuchJob: there is none.
            JobEnded: it does not run any more.
        """
        key = (namespace.namespace_id, job_id)
        job = await self.find(namespace, job_id)
        runner = self._runners.get(key)
        if job.state != RUNNING:
            raise JobEnded("workflow execution already completed")
        if runner is None or runner.job is not job or job.unflushed_failed:
            raise Unflushed("the batch operation begins anew; try again")
        batch = self._close(job, FAILED)
        runner.task.cancel()
        self._run(key, after=batch).job = job  # goes on if the end does not become durable
        await asyncio.shield(batch.durable)

    async def find(self, namespace: Namespace, job_id: str) -> Job:
        """A job as it is now.

        Raises:
            NoSuchJob: there is none.
        """
        key = (namespace.namespace_id, job_id)
        runner = self._runners.get(key)
        found = None if runner is None else runner.job
        if found is None or found.unflushed_failed:
            found = await self._read(key)
        if found is None:
            raise NoSuchJob(f"workflow not found for ID: {job_id}")
        if found.state != RUNNING and found.unflushed is not None:
            await asyncio.shield(found.unflushed.durable)
        return found

    async def page(self, namespace: Namespace, count_max: int, before: tuple[int, str] | None) -> list[Job]:
        """Jobs of a namespace, newest first."""
        rows = await self.runtime.database.list(
            namespace.namespace_id,
            lambda c: list_batch_operations(c, namespace.namespace_id, count_max, before),
        )
        return [Job.of(row) for row in rows]

    async def _read(self, key: Key) -> Job | None:
        row = await self.runtime.database.read(lambda c: read_batch_operation(c, *key))
        return None if row is None else Job.of(row)

    # --- running ---

    def _run(self, key: Key, *, after: Batch | None = None) -> _Runner:
        """Work on a job as the store has it, once `after` is flushed or has failed."""
        work = self._run_to_its_end(key, after)
        runner = _Runner(self.runtime.spawn(work, f"batch-operation {key[1]}"))
        self._runners[key] = runner

        def ended(_: asyncio.Task[None]) -> None:
            if self._runners.get(key) is runner:
                del self._runners[key]

        runner.task.add_done_callback(ended)
        return runner

    async def _run_to_its_end(self, key: Key, after: Batch | None) -> None:
        if after is not None:
            await asyncio.wait([after.durable])
        broken = False
        while True:
            try:
                job = await self._read(key)
                if job is None or job.state != RUNNING or not self.runtime.namespaces.serves(key[0]):
                    return
                self._runners[key].job = job
                if broken:
                    await self._end(job, FAILED)
                else:
                    await self._work(job)
                break
            except (_Lost, Unflushed, StoreUnavailable, TooManyLists) as error:
                log.warning("batch_operation_begins_anew", job_id=key[1], reason=str(error))
            except Exception:
                log.exception("batch_operation_broke", job_id=key[1])  # a defect: it would break again
                broken = True
            job = self._runners[key].job
            if job is not None and job.unflushed is not None:
                await asyncio.wait([job.unflushed.durable])  # the store tells the truth only then
            await asyncio.sleep(RETRY_S)

    async def _work(self, job: Job) -> None:
        namespace = self.runtime.namespaces.by_id(job.row.namespace_id)
        try:
            async for target in self._targets(namespace, job):
                await self._keep_the_rate(job)
                await self._step(namespace, job, target)
        except TooManyLists:
            raise  # its turn comes
        except (FilterError, ListRefused) as error:
            log.warning("batch_operation_failed", job_id=job.row.job_id, reason=str(error))
            await self._end(job, FAILED)
            return
        job.progress.total = job.progress.done + job.progress.failed
        await self._end(job, COMPLETED)

    async def _targets(self, namespace: Namespace, job: Job) -> AsyncIterator[_Target]:
        request, progress = job.request, job.progress
        for listed in request.executions[progress.position :]:
            yield _Target(listed.workflow_id, listed.run_id)
        for named in request.target_executions[progress.position :]:
            yield _Target(named.business_id, named.run_id)
        if not request.visibility_query:
            return
        namespace_id, found = namespace.namespace_id, self._filter(namespace, request)
        listed_as = self.targets(request).listed_as(namespace_id)
        if not progress.counted:
            counted = await self.runtime.database.list(
                namespace_id, lambda c: visibility.count(c, listed_as, found)
            )
            progress.total, progress.counted = counted.total, True
        while True:
            cursor = progress.cursor or None
            rows, following = await self.runtime.database.list(
                namespace_id,
                lambda c, cursor=cursor: visibility.list_page(c, listed_as, found, PAGE_RUNS, cursor),  # type: ignore[misc]
            )
            for row in rows:
                yield _Target(row.workflow_id, row.run_id, cursor_after(row))
            if following is None:
                return

    def _filter(self, namespace: Namespace, request: StartBatchOperationRequest) -> ListFilter:
        query, parse = request.visibility_query, self.targets(request).parse
        types = cast("AttributeTypes", namespace.search_attributes)
        found = parse(query, types)
        if found.group_by is not None:
            raise FilterError("a batch operation's query can't have GROUP BY")
        return (
            parse(f"({query}) AND ExecutionStatus IN ('Running', 'Paused')", types)
            if self.open_only(request)
            else found
        )

    async def _keep_the_rate(self, job: Job) -> None:
        highest = self.runtime.limits.batch_operations_per_second
        wanted = job.request.max_operations_per_second
        loop = asyncio.get_running_loop()
        await asyncio.sleep(job.next_at - loop.time() if job.next_at > loop.time() else 0)
        job.next_at = max(job.next_at, loop.time()) + 1 / (min(wanted, highest) if wanted > 0 else highest)

    async def _step(self, namespace: Namespace, job: Job, target: _Target) -> None:
        """Do the operation to one run; nothing is awaited between that and the note that it is done."""
        while True:
            refused = ""
            try:
                targets = self.targets(job.request)
                hot = await targets.find(namespace, target.workflow_id, target.run_id)
                self._check(job)
                outcome = self.perform(hot, job)
                refused = outcome if isinstance(outcome, str) else await outcome
            except NoSuchRun as error:
                refused = str(error) if self.needs_all(job.request) else ""
            except HeldUp as error:
                refused = str(error)
            except Unflushed:
                self._check(job)
                await asyncio.sleep(RUN_RETRY_S)  # the run left memory meanwhile
                continue
            self._check(job)
            if refused:
                log.info(
                    "batch_operation_refused",
                    job_id=job.row.job_id,
                    workflow_id=target.workflow_id,
                    reason=refused,
                )
                job.progress.failed += 1
            else:
                job.progress.done += 1
            job.progress.position += 1
            job.progress.cursor = target.cursor
            self._note(job)
            return

    def _check(self, job: Job) -> None:
        if job.unflushed_failed:
            raise _Lost("a flush failed that held steps of it")
        if job.state != RUNNING:
            raise asyncio.CancelledError

    def _note(self, job: Job) -> Batch:
        """Have how far the job is written with the open batch."""
        batch = self.runtime.commits.touch()
        batch.batch_steps[job.key] = BatchStepRow(
            job.state, job.close_time, encode_batch_progress(job.progress), *job.key
        )
        job.unflushed = batch
        return batch

    def _close(self, job: Job, state: int) -> Batch:
        job.state = state
        job.close_time = self.runtime.clock.now()
        return self._note(job)

    async def _end(self, job: Job, state: int) -> None:
        self._check(job)
        await asyncio.shield(self._close(job, state).durable)

    # --- old ones ---

    async def _remove_old_ones(self) -> None:
        """Ended jobs are kept as long as closed runs."""
        runtime = self.runtime
        while True:
            await asyncio.sleep(OLD_ONES_INTERVAL_S)
            for namespace in runtime.namespaces.all():
                before = runtime.clock.now() - namespace.retention
                try:
                    await runtime.database.write(
                        lambda c, n=namespace.namespace_id, b=before: delete_old_batch_operations(  # type: ignore[misc]
                            c, n, b, runtime.lease.epoch
                        )
                    )
                except StoreUnavailable as error:
                    log.warning("old_batch_operations_stay", reason=str(error))
