"""Failures between Nexus's form, which handlers and other services use, and Temporal's, which histories hold.

Facts of the wire: github.com/nexus-rpc/api (SPEC.md), and how Temporal's SDKs write a Failure into Nexus's `details` (JSON of the proto
without message and stack trace; `metadata.type` names what it is).
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import NexusHandlerErrorRetryBehavior
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import HandlerError, UnsuccessfulOperationError

from cloud.engine.core.nexus_answers import Refused, Unsuccessful

DEPTH_MAX = 20
"""Causes of causes that are looked at."""

_TEMPORAL = Failure.DESCRIPTOR.full_name
_B = NexusHandlerErrorRetryBehavior

RETRYABLE = _B.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE
NON_RETRYABLE = _B.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_NON_RETRYABLE

NOT_RETRIED = frozenset(
    {"BAD_REQUEST", "UNAUTHENTICATED", "UNAUTHORIZED", "NOT_FOUND", "CONFLICT", "NOT_IMPLEMENTED"}
)
"""Types of handler errors that are final unless they say otherwise (the protocol's predefined ones)."""


class MalformedFailure(ValueError):
    """A failure that says it is of a form that it has not."""


def handler_failure(kind: str, message: str) -> Failure:
    """A handler error of ours, of a predefined type."""
    failure = Failure(message=message)
    failure.nexus_handler_failure_info.type = kind
    return failure


def is_retryable(failure: Failure) -> bool:
    """Whether the call that a handler failed may be made again."""
    info = failure.nexus_handler_failure_info
    if info.retry_behavior == RETRYABLE:
        return True
    if info.retry_behavior == NON_RETRYABLE:
        return False
    return info.type not in NOT_RETRIED


def refused(failure: Failure) -> Refused:
    """A handler's failure as an answer."""
    return Refused(failure, is_retryable(failure))


def of_handler(failure: Failure) -> Refused:
    """The failure of a task, as a worker sends it today; what only its own namespace should see is left out."""
    kept = Failure(message=failure.message, stack_trace=failure.stack_trace)
    if failure.HasField("encoded_attributes"):
        kept.encoded_attributes.CopyFrom(failure.encoded_attributes)
    if failure.HasField("cause"):
        kept.cause.CopyFrom(failure.cause)
    kept.nexus_handler_failure_info.CopyFrom(failure.nexus_handler_failure_info)
    return refused(kept)


def of_handler_error(error: HandlerError) -> Refused:
    """The same in the older form."""
    failure = Failure()
    failure.nexus_handler_failure_info.type = error.error_type
    failure.nexus_handler_failure_info.retry_behavior = error.retry_behavior
    failure.cause.CopyFrom(as_temporal(error.failure))
    return refused(failure)


def unsuccessful(failure: Failure) -> Unsuccessful:
    """An operation's failure, as a worker sends it today."""
    return Unsuccessful(failure, canceled=failure.HasField("canceled_failure_info"))


def of_operation_error(error: UnsuccessfulOperationError) -> Unsuccessful:
    """The same in the older form.

    Raises:
        MalformedFailure: its state is none, or its failure can't be read.
    """
    return of_state(error.operation_state, as_temporal(error.failure))


def of_state(state: str, failure: Failure) -> Unsuccessful:
    """How an operation in `state` ended.

    Raises:
        MalformedFailure: that is no end.
    """
    if state == "failed":
        return Unsuccessful(failure)
    if state != "canceled":
        raise MalformedFailure(f"unexpected operation state: {state!r}")
    if not failure.HasField("canceled_failure_info"):
        canceled = Failure(message=failure.message, stack_trace=failure.stack_trace)
        canceled.canceled_failure_info.SetInParent()
        if failure.HasField("cause"):
            canceled.cause.CopyFrom(failure.cause)
        failure = canceled
    return Unsuccessful(failure, canceled=True)


def as_temporal(failure: NexusFailure, depth: int = 0) -> Failure:
    """A failure in Temporal's form.

    Raises:
        MalformedFailure: it says it is of a form that it has not.
    """
    made = Failure()
    match failure.metadata.get("type", ""):
        case kind if kind == _TEMPORAL:
            try:
                json_format.Parse(failure.details, made, ignore_unknown_fields=True)
            except (json_format.ParseError, RecursionError) as error:
                raise MalformedFailure(
                    "a failure's details are not the failure that they should be"
                ) from error
        case "nexus.OperationError":
            if _json_object(failure.details).get("state") == "canceled":
                made.canceled_failure_info.SetInParent()
            else:
                made.application_failure_info.type = "OperationError"
                made.application_failure_info.non_retryable = True
        case "nexus.HandlerError":
            _read_handler_error(made, _json_object(failure.details))
        case _ if failure.metadata or failure.details:
            _keep_unknown(made, failure)
        case _:
            pass
    made.message, made.stack_trace = failure.message, failure.stack_trace
    if failure.HasField("cause") and depth < DEPTH_MAX:
        made.cause.CopyFrom(as_temporal(failure.cause, depth + 1))
    return made


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise MalformedFailure("a failure's details are no JSON") from error
    if not isinstance(found, dict):
        raise MalformedFailure("a failure's details are no JSON object")
    return found


def _read_handler_error(made: Failure, details: dict[str, Any]) -> None:
    info = made.nexus_handler_failure_info
    info.type = str(details.get("type", ""))
    retryable = details.get("retryableOverride")
    if retryable is True:
        info.retry_behavior = RETRYABLE
    elif retryable is False:
        info.retry_behavior = NON_RETRYABLE
    encoded = details.get("encodedAttributes")
    if encoded:
        try:
            padded = str(encoded) + "=" * (-len(str(encoded)) % 4)
            json_format.Parse(base64.urlsafe_b64decode(padded), made.encoded_attributes)
        except (binascii.Error, ValueError, json_format.ParseError) as error:
            raise MalformedFailure("a failure's encoded attributes can't be read") from error


def _keep_unknown(made: Failure, failure: NexusFailure) -> None:
    """What is not known is kept as it is."""
    data: dict[str, Any] = {}
    if failure.metadata:
        data["metadata"] = dict(failure.metadata)
    if failure.details:
        try:
            data["details"] = json.loads(failure.details)
        except (ValueError, RecursionError) as error:
            raise MalformedFailure("a failure's details are no JSON") from error
    made.application_failure_info.type = "NexusFailure"
    made.application_failure_info.details.payloads.append(
        Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(data, separators=(",", ":")).encode())
    )


def as_nexus(failure: Failure, depth: int = 0) -> NexusFailure:
    """A failure in Nexus's form."""
    made = NexusFailure(message=failure.message, stack_trace=failure.stack_trace)
    if failure.HasField("nexus_handler_failure_info"):
        info = failure.nexus_handler_failure_info
        details: dict[str, Any] = {"type": info.type}
        if info.retry_behavior == RETRYABLE:
            details["retryableOverride"] = True
        elif info.retry_behavior == NON_RETRYABLE:
            details["retryableOverride"] = False
        if failure.HasField("encoded_attributes"):
            data = json_format.MessageToJson(failure.encoded_attributes, indent=None).encode()
            details["encodedAttributes"] = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        made.metadata["type"] = "nexus.HandlerError"
        made.details = json.dumps(details, separators=(",", ":")).encode()
    else:
        bare = Failure()
        bare.CopyFrom(failure)
        for name in ("message", "stack_trace", "cause"):
            bare.ClearField(name)
        made.metadata["type"] = _TEMPORAL
        made.details = json_format.MessageToJson(bare, indent=None).encode()
    if failure.HasField("cause") and depth < DEPTH_MAX:
        made.cause.CopyFrom(as_nexus(failure.cause, depth + 1))
    return made
