"""Completions that come over HTTP: services that started an operation tell how it ended.

Who sends one proves nothing but that it has the token that went out with the call: it names namespace, run and operation, and is
authenticated. A message is bounded by its listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.api.failure.v1 import Failure

from cloud.engine.core.nexus_answers import Outcome, Succeeded
from cloud.engine.runtime import nexus_failures as failures
from cloud.engine.runtime import nexus_wire as wire
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.nexus_completions import (
    CALLBACK_TOKEN_HEADER,
    Completion,
    CompletionRefused,
    NexusCompletions,
)
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import StoreUnavailable

STATUS_OF = {"BAD_REQUEST": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NexusReply:
    """What the sender gets."""

    status: int
    header: Mapping[str, str]
    body: bytes


class NexusCallbackHttp:
    """See the module's head."""

    def __init__(self, runtime: Runtime, completions: NexusCompletions) -> None:
        self._runtime = runtime
        self._completions = completions

    async def answer(self, namespace: str | None, header: Mapping[str, str], body: bytes) -> NexusReply:
        """Take the completion of a POST request. `namespace` is the one that its path names, if any; `header` has names in lower case."""
        try:
            await self._take(namespace, header, body)
        except CompletionRefused as error:
            return _refusal(error.kind, error.message)
        except (wire.MalformedMessage, failures.MalformedFailure) as error:
            return _refusal("BAD_REQUEST", str(error))
        except (Unflushed, StoreUnavailable):
            return _refusal("UNAVAILABLE", "service unavailable")
        return NexusReply(status=200, header={}, body=b"")

    async def _take(self, namespace: str | None, header: Mapping[str, str], body: bytes) -> None:
        completion = Completion(
            self._outcome(header, body),
            token=self._token(header),
            started_at=wire.read_date(header.get(wire.START_TIME, "")),
            links=wire.read_links(header),
        )
        waiting = await self._completions.find(header.get(CALLBACK_TOKEN_HEADER, ""))
        if namespace is not None and waiting.namespace.name != namespace:
            raise CompletionRefused("BAD_REQUEST", "invalid callback token")
        waiting.complete(completion)
        await asyncio.shield(waiting.durable())

    def _outcome(self, header: Mapping[str, str], body: bytes) -> Outcome:
        state = header.get(wire.OPERATION_STATE, "")
        if state == "succeeded":
            result = wire.read_payload(header, body)
            if result.ByteSize() > self._runtime.limits.blob_size_error:
                raise CompletionRefused("BAD_REQUEST", "result exceeds size limit")
            return Succeeded(result)
        if state not in ("failed", "canceled"):
            raise CompletionRefused("BAD_REQUEST", f'invalid request operation state: "{state[:40]}"')
        if not wire.is_json(header):
            kind = header.get("content-type", "")[:80]
            raise CompletionRefused("BAD_REQUEST", f'invalid request content type: "{kind}"')
        try:
            outcome = wire.unsuccessful(wire.read_failure(body), state)
        except (wire.MalformedMessage, failures.MalformedFailure):
            raise CompletionRefused("BAD_REQUEST", "failed to decode Failure from request body") from None
        if outcome.failure.ByteSize() > self._runtime.limits.blob_size_error:
            raise CompletionRefused("BAD_REQUEST", "failure exceeds size limit")
        return outcome

    def _token(self, header: Mapping[str, str]) -> str:
        token, length_max = header.get(wire.OPERATION_TOKEN, ""), self._runtime.limits.nexus_token_length
        size = len(token.encode())
        if size > length_max:
            raise CompletionRefused(
                "BAD_REQUEST", f"operation token length exceeds allowed limit ({size}/{length_max})"
            )
        return token


def _refusal(kind: str, message: str) -> NexusReply:
    failure = Failure(message=message)
    failure.nexus_handler_failure_info.type = kind
    return NexusReply(
        status=STATUS_OF.get(kind, 500),
        header=_JSON,
        body=wire.write_failure(failures.as_nexus(failure)),
    )
