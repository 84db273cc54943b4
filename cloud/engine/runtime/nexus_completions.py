"""What becomes of an operation that its handler has started: found by the token that went out with the call, and told to its run."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Link

from cloud.engine.core import nexus_operation
from cloud.engine.core.errors import NoSuchTask, RunClosed
from cloud.engine.core.nexus_answers import Outcome
from cloud.engine.core.state import NexusOperation, RunKey
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.runtime import Runtime
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run that waits for a completion, and the operation that it is about."""

    hot: HotRun
    token: NexusCallbackToken


class NexusCompletions:
    """Takes completions, from callbacks of this cell's runs and from outside."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

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
        try:
            hot = await runtime.runs.get(token.run_id)
        except NoSuchRun:
            hot = None
        if hot is not None and _waits(hot, token):
            return Waiting(hot, token)
        # After a reset it is another run that waits.
        current = await runtime.runs.current(namespace_id, token.workflow_id)
        if current is not None and current.run_id != token.run_id:
            newest = await runtime.runs.get(current.run_id)
            if _waits(newest, token):
                return Waiting(newest, token)
        if hot is None:
            raise CompletionRefused("NOT_FOUND", "workflow execution not found")
        return Waiting(hot, token)  # `complete` says why it does not

    def complete(self, waiting: Waiting, completion: Completion) -> None:
        """Tell the run. It is not yet durable; if the run left memory meanwhile, `find` it again.

        Raises:
            CompletionRefused: it does not wait any more.
            Unflushed: the run left memory.
        """
        token = waiting.token
        try:
            with self._runtime.transition(waiting.hot) as turn:
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


def _waits(hot: HotRun, token: NexusCallbackToken) -> bool:
    operation = hot.execution.nexus_operations.get(token.scheduled_event_id)
    return (
        hot.execution.running
        and operation is not None
        and not operation.closing
        and operation.scheduled.request_id == token.request_id
    )
