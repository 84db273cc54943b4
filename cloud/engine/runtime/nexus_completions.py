"""What becomes of an operation that its handler has started: found by the token that went out with the call, and told to who waits."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from temporalio.api.common.v1 import Link

from cloud.engine.core import nexus_operation, standalone_nexus
from cloud.engine.core.errors import NoSuchTask, RunClosed
from cloud.engine.core.nexus_answers import Outcome
from cloud.engine.core.state import NexusOperation, RunKey
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_operation import HotOperation
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_nexus import StandaloneNexusOperations
from cloud.engine.runtime.tokens import NEXUS_CALLBACK, BadToken, NexusCallbackToken

CALLBACK_TOKEN_HEADER = "temporal-callback-token"  # noqa: S105 - a header's name

TOKEN_LENGTH_MAX = 8_192


@dataclass(frozen=True, slots=True)
class Completion:
    """How an operation ended. `token`, `started_at` (ns, 0 for unknown) and `links` tell of its start, in case nobody did yet."""

    outcome: Outcome
    token: str = ""
    started_at: int = 0
    links: Sequence[Link] = ()


class CompletionRefused(Exception):
    """The completion is nobody's, or comes too late. `kind` is a handler error's type."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


NO_EVENT = 0
"""In the place of an event's id in the token of a standalone operation: no event has it."""


def standalone_callback_token(runtime: Runtime, hot: HotOperation) -> str:
    """What the handler of a standalone operation gives back with its completion."""
    content = NexusCallbackToken(
        run_id=hot.run_id,
        workflow_id=hot.id,
        scheduled_event_id=NO_EVENT,
        request_id=hot.operation.state.request_id,
    )
    token = runtime.tokens.make(NEXUS_CALLBACK, hot.namespace.namespace_id, content)
    return base64.urlsafe_b64encode(token).decode()


def callback_token(runtime: Runtime, key: RunKey, operation: NexusOperation) -> str:
    """What the handler of an operation gives back with its completion. It is bound to namespace, run and operation."""
    content = NexusCallbackToken(
        run_id=key.run_id,
        workflow_id=key.workflow_id,
        scheduled_event_id=operation.scheduled_event_id,
        request_id=operation.scheduled.request_id,
    )
    token = runtime.tokens.make(NEXUS_CALLBACK, key.namespace_id, content)
    return base64.urlsafe_b64encode(token).decode()


class Waiting(Protocol):
    """Who waits for a completion, and the operation that it is about."""

    @property
    def namespace(self) -> Namespace:
        """Where it is."""

    def complete(self, completion: Completion) -> None:
        """Tell it. It is not yet durable; if it left memory meanwhile, `find` it again.

        Raises:
            CompletionRefused: it does not wait any more.
            Unflushed: it left memory.
        """

    async def durable(self) -> None:
        """Wait until what it was told is on disk.

        Raises:
            Unflushed: it never will be.
        """


@dataclass(frozen=True, slots=True)
class _WaitingRun:
    """A run."""

    runtime: Runtime
    hot: HotRun
    token: NexusCallbackToken

    @property
    def namespace(self) -> Namespace:
        return self.hot.namespace

    def complete(self, completion: Completion) -> None:
        token = self.token
        try:
            with self.runtime.transition(self.hot) as turn:
                operation = nexus_operation.require_pending(
                    turn.execution, token.scheduled_event_id, token.request_id
                )
                nexus_operation.complete(
                    turn,
                    operation,
                    completion.outcome,
                    token=completion.token,
                    started_at=completion.started_at,
                    links=completion.links,
                )
        except (RunClosed, NoSuchTask) as error:
            raise CompletionRefused("NOT_FOUND", str(error)) from None

    async def durable(self) -> None:
        await self.runtime.durable(self.hot)


@dataclass(frozen=True, slots=True)
class _WaitingOperation:
    """A standalone operation."""

    operations: StandaloneNexusOperations
    hot: HotOperation
    token: NexusCallbackToken

    @property
    def namespace(self) -> Namespace:
        return self.hot.namespace

    def complete(self, completion: Completion) -> None:
        try:
            with self.operations.step(self.hot) as step:
                standalone_nexus.require_pending(step.operation, self.token.request_id)
                standalone_nexus.complete(
                    step,
                    completion.outcome,
                    token=completion.token,
                    started_at=completion.started_at,
                    links=completion.links,
                )
        except NoSuchTask as error:
            raise CompletionRefused("NOT_FOUND", str(error)) from None

    async def durable(self) -> None:
        await self.operations.durable(self.hot)


class NexusCompletions:
    """Takes completions, from callbacks of this cell's runs and from outside."""

    def __init__(self, runtime: Runtime, operations: StandaloneNexusOperations) -> None:
        self._runtime = runtime
        self._operations = operations

    async def find(self, token_text: str) -> Waiting:
        """Who waits for the completion that this token is for.

        Raises:
            CompletionRefused: the token is none of ours, or nobody waits any more.
        """
        runtime = self._runtime
        try:
            raw = base64.b64decode(token_text[:TOKEN_LENGTH_MAX], altchars=b"-_", validate=True)
            namespace_id, token = runtime.tokens.read_of_any(raw, NEXUS_CALLBACK, NexusCallbackToken)
        except (BadToken, binascii.Error, ValueError):
            raise CompletionRefused("BAD_REQUEST", "invalid callback token") from None
        if not runtime.namespaces.serves(namespace_id):
            raise CompletionRefused("NOT_FOUND", f'namespace "{namespace_id}" not found')
        if token.scheduled_event_id == NO_EVENT:
            try:
                hot = await self._operations.get(token.run_id)
            except NoSuchRun:
                raise CompletionRefused("NOT_FOUND", "operation not found") from None
            return _WaitingOperation(self._operations, hot, token)
        return await self._find_run(namespace_id, token)

    async def _find_run(self, namespace_id: str, token: NexusCallbackToken) -> Waiting:
        runtime = self._runtime
        try:
            hot = await runtime.runs.get(token.run_id)
        except NoSuchRun:
            hot = None
        if hot is not None and _waits(hot, token):
            return _WaitingRun(runtime, hot, token)
        # After a reset it is another run that waits.
        current = await runtime.runs.current(namespace_id, token.workflow_id)
        if current is not None and current.run_id != token.run_id:
            newest = await runtime.runs.get(current.run_id)
            if _waits(newest, token):
                return _WaitingRun(runtime, newest, token)
        if hot is None:
            raise CompletionRefused("NOT_FOUND", "workflow execution not found")
        return _WaitingRun(runtime, hot, token)  # `complete` says why it does not


def _waits(hot: HotRun, token: NexusCallbackToken) -> bool:
    operation = hot.execution.nexus_operations.get(token.scheduled_event_id)
    return (
        hot.execution.running
        and operation is not None
        and not operation.closing
        and operation.scheduled.request_id == token.request_id
    )
