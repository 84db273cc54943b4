"""The client's side: starts and signals until they are acknowledged, and remembers exactly what was.

Each call is repeated with one request id until the server answers, so that "not acknowledged" leaves no doubt at
the end: every start must exist once, every signal must be there once.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payloads, WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from tests.chaos.observations import AcknowledgedStart
from tests.chaos.workflows import QUEUE, WORKFLOW_TASK_TIMEOUT, Fulfil, Order, Outcome, order_of

PATIENCE = timedelta(seconds=240)  # for one answer, a result too: kills go on while it is waited for
CALL_TIMEOUT = timedelta(seconds=5)
RETRY_SECONDS = 0.05
REUSE_EVERY = 10  # every tenth workflow id is started again after its end
EXPLAINED_BY_A_CRASH = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.UNKNOWN,  # the transport's, when a connection breaks within an answer
    }
)

T = TypeVar("T")


class NoAnswerError(Exception):
    """The server gave no answer within the patience, or one that a crash does not explain."""


@dataclass(kw_only=True)
class Driver:
    """Keeps `in_flight` orders going. `journal` gets a line for each acknowledgement before it counts."""

    client: Client
    journal: Path
    in_flight: int
    starts: list[AcknowledgedStart] = field(default_factory=list)
    admitted_twice: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    refused_second_starts: int = 0
    signals: int = 0
    _number: int = 0
    _stopping: bool = False

    async def run(self) -> None:
        """Start orders until :meth:`stop`, then see the last ones through."""
        await asyncio.gather(*[self._caller() for _ in range(self.in_flight)])

    def stop(self) -> None:
        """No new orders."""
        self._stopping = True

    async def _caller(self) -> None:
        while not self._stopping:
            number, self._number = self._number, self._number + 1
            try:
                await self._order(f"order-{number}", order_of(number))
                if number % REUSE_EVERY == 0:
                    await self._order(f"order-{number}", order_of(number))
            except NoAnswerError as error:
                self.errors.append(str(error))

    async def _order(self, workflow_id: str, order: Order) -> None:
        request = await self._start_request(workflow_id, order)
        run_id = await self._repeat("start", workflow_id, lambda: self._start(request))
        self._note(start=workflow_id, run=run_id)
        said: list[str] = []
        for at in range(order.signals):
            if at == order.signals - 1:
                await self._try_a_second_start(request)
            word = f"{workflow_id}/{run_id}/{at}"
            signal = await self._signal_request(workflow_id, run_id, word)
            await self._repeat("signal", workflow_id, lambda signal=signal: self._signal(signal))  # type: ignore[misc]
            self._note(signal=word)
            said.append(word)
            self.signals += 1
        start = AcknowledgedStart(workflow_id=workflow_id, run_id=run_id, order=order, signals=said)
        at = len(self.starts)
        self.starts.append(start)
        result = await self._repeat("result", workflow_id, lambda: self._result(workflow_id, run_id))
        self.starts[at] = AcknowledgedStart(
            workflow_id=workflow_id, run_id=run_id, order=order, signals=said, result=result
        )

    async def _try_a_second_start(self, first: StartWorkflowExecutionRequest) -> None:
        """The run waits for its last signal, so it is open: another start of its id must be refused."""
        second = StartWorkflowExecutionRequest()
        second.CopyFrom(first)
        second.request_id = str(uuid.uuid4())

        async def start() -> bool:
            try:
                await self._start(second)
            except RPCError as error:
                if error.status is RPCStatusCode.ALREADY_EXISTS:
                    return False
                raise
            return True

        if await self._repeat("second start", first.workflow_id, start):
            self.admitted_twice.append(first.workflow_id)
        else:
            self.refused_second_starts += 1

    async def _repeat(self, call: str, workflow_id: str, once: Callable[[], Awaitable[T]]) -> T:
        """Call until there is an answer.

        Raises:
            NoAnswerError: there was none in time, or a crash does not explain it.
        """
        give_up = asyncio.get_running_loop().time() + PATIENCE.total_seconds()
        while True:
            try:
                return await once()
            except RPCError as error:
                self.repeated[f"{call}: {error.status.name}"] += 1
                if error.status not in EXPLAINED_BY_A_CRASH:
                    what = f"{call} of {workflow_id}: {error.status.name}: {error.message}"
                    raise NoAnswerError(what) from error
                if asyncio.get_running_loop().time() > give_up:
                    what = f"{call} of {workflow_id}: no answer within {PATIENCE}, last {error.status.name}"
                    raise NoAnswerError(f"{what}: {error.message}") from error
            except WorkflowFailureError as error:
                raise NoAnswerError(f"{workflow_id} failed: {error.cause}") from error
            await asyncio.sleep(RETRY_SECONDS)

    async def _start(self, request: StartWorkflowExecutionRequest) -> str:
        service = self.client.workflow_service
        answer = await service.start_workflow_execution(request, timeout=CALL_TIMEOUT)
        return answer.run_id

    async def _signal(self, request: SignalWorkflowExecutionRequest) -> None:
        await self.client.workflow_service.signal_workflow_execution(request, timeout=CALL_TIMEOUT)

    async def _result(self, workflow_id: str, run_id: str) -> Outcome:
        handle = self.client.get_workflow_handle_for(Fulfil.run, workflow_id, run_id=run_id)
        return await handle.result()

    async def _start_request(self, workflow_id: str, order: Order) -> StartWorkflowExecutionRequest:
        timeout = Duration()
        timeout.FromTimedelta(WORKFLOW_TASK_TIMEOUT)
        return StartWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name=Fulfil.__name__),
            task_queue=TaskQueue(name=QUEUE),
            input=Payloads(payloads=await self.client.data_converter.encode([order])),
            workflow_task_timeout=timeout,
            request_id=str(uuid.uuid4()),
        )

    async def _signal_request(
        self, workflow_id: str, run_id: str, word: str
    ) -> SignalWorkflowExecutionRequest:
        return SignalWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            signal_name=Fulfil.say.__name__,
            input=Payloads(payloads=await self.client.data_converter.encode([word])),
            request_id=str(uuid.uuid4()),
        )

    def _note(self, **words: str) -> None:
        with self.journal.open("a") as journal:
            journal.write(json.dumps(words) + "\n")
