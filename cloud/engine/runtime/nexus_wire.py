"""Nexus over HTTP: how payloads, links, failures and times are written in headers and bodies.

The protocol is github.com/nexus-rpc/api (SPEC.md); what Temporal adds (payloads with more than a content type, failures as protos) is
written as its server and SDKs write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.message import Message as Headers
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Link, Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import Link as NexusLink

from cloud.engine.core.clock import SECOND
from cloud.engine.core.nexus_answers import Unsuccessful
from cloud.engine.runtime import nexus_failures, nexus_links

USER_AGENT = "temporalio/server"
OPERATION_STATE = "nexus-operation-state"
OPERATION_TOKEN = "nexus-operation-token"  # noqa: S105 - a header's name
START_TIME = "nexus-operation-start-time"
CLOSE_TIME = "nexus-operation-close-time"
REQUEST_ID = "nexus-request-id"
LINK = "nexus-link"
RETRYABLE = "nexus-request-retryable"
CALLBACK_PREFIX = "nexus-callback-"
FAILURE_SUPPORT = "temporal-nexus-failure-support"
"""Tells a Temporal server on the other side that failures may come as protos."""
REQUEST_TIMEOUT = "request-timeout"
UNWRAP = "unwrap-error"
"""Metadata of an operation's error that only wraps the failure which is its cause."""

_PAYLOAD = "application/x-temporal-payload"
_UNKNOWN = b"unknown/nexus-content"
_LINK = re.compile(r'<([^>]*)>\s*;\s*type\s*=\s*"?([A-Za-z0-9_./]+)"?')
_CONTENT = "content-"
_OF_THE_WAY = frozenset({"encoding", "length"})


class MalformedMessage(ValueError):
    """What came is not of the protocol."""


# --- payloads ---------------------------------------------------------------------------------------------------


def write_payload(payload: Payload | None) -> tuple[dict[str, str], bytes]:
    """A payload as content headers and a body."""
    if payload is None:
        return {}, b""
    metadata = dict(payload.metadata)
    encoding, kind = (
        metadata.get("encoding", b""),
        metadata.get("messageType", b"").decode("utf-8", "replace"),
    )
    if encoding == _UNKNOWN:
        header = {
            f"{_CONTENT}{key}": text.decode("latin-1") for key, text in metadata.items() if key != "encoding"
        }
        if all(_is_plain(text) for text in header.values()):
            return header, payload.data
    elif encoding == b"json/protobuf" and len(metadata) == 2 and kind:
        content_type = f'application/json; format=protobuf; message-type="{kind}"'
        return {"content-type": content_type}, payload.data
    elif encoding == b"binary/protobuf" and len(metadata) == 2 and kind:
        return {"content-type": f'application/x-protobuf; message-type="{kind}"'}, payload.data
    elif len(metadata) == 1 and encoding == b"json/plain":
        return {"content-type": "application/json"}, payload.data
    elif len(metadata) == 1 and encoding == b"binary/plain":
        return {"content-type": "application/octet-stream"}, payload.data
    elif len(metadata) == 1 and encoding == b"binary/null":
        return {}, payload.data
    return {"content-type": _PAYLOAD}, payload.SerializeToString()


def read_payload(header: Mapping[str, str], body: bytes) -> Payload:
    """The payload that content headers and a body are.

    Raises:
        MalformedMessage: it says it is a payload, and is none.
    """
    content = {
        key.removeprefix(_CONTENT): text
        for key, text in header.items()
        if key.startswith(_CONTENT) and key.removeprefix(_CONTENT) not in _OF_THE_WAY
    }
    if set(content) <= {"type"}:
        if not content and not body:
            return Payload(metadata={"encoding": b"binary/null"})
        media, parameters = _media_type(content.get("type", ""))
        if media == _PAYLOAD:
            try:
                return Payload.FromString(body)
            except DecodeError:
                raise MalformedMessage("the body is no payload") from None
        metadata = _known(media, parameters)
        if metadata is not None:
            return Payload(metadata=metadata, data=body)
    metadata = {key: text.encode() for key, text in content.items()}
    return Payload(metadata=metadata | {"encoding": _UNKNOWN}, data=body)


def _known(media: str, parameters: Mapping[str, str]) -> dict[str, bytes] | None:
    kind = parameters.get("message-type", "")
    if media == "application/json" and not parameters:
        return {"encoding": b"json/plain"}
    if media == "application/json" and parameters == {"format": "protobuf", "message-type": kind} and kind:
        return {"encoding": b"json/protobuf", "messageType": kind.encode()}
    if media == "application/x-protobuf" and parameters == {"message-type": kind} and kind:
        return {"encoding": b"binary/protobuf", "messageType": kind.encode()}
    if media == "application/octet-stream" and not parameters:
        return {"encoding": b"binary/plain"}
    return None


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    headers = Headers()
    headers["content-type"] = text.replace("\r", " ").replace("\n", " ")
    parameters = headers.get_params(failobj=[]) or []
    return (
        headers.get_content_type() if text else "",
        {str(key): str(value) for key, value in parameters[1:]},
    )


def _is_plain(text: str) -> bool:
    return text.isprintable() and text.isascii()


def is_json(header: Mapping[str, str]) -> bool:
    """Whether a body is said to be JSON."""
    return _media_type(header.get("content-type", ""))[0] == "application/json"


# --- links ------------------------------------------------------------------------------------------------------


def write_links(links: Iterable[NexusLink]) -> str:
    """Links as one header's value, empty for none."""
    return ", ".join(f'<{link.url}>; type="{link.type}"' for link in links)


def read_links(header: Mapping[str, str]) -> list[Link]:
    """The links of a message that are Temporal's own; what can't be read is left out."""
    return nexus_links.from_nexus(NexusLink(url=url, type=kind) for url, kind in raw_links(header))


def raw_links(header: Mapping[str, str]) -> list[tuple[str, str]]:
    """The links of a message as they came: (URL, type)."""
    found = _LINK.findall(header.get(LINK, "")[: nexus_links.LINKS_MAX * nexus_links.LINK_SIZE_MAX])
    return [(url.strip(), kind) for url, kind in found[: nexus_links.LINKS_MAX]]


# --- failures ---------------------------------------------------------------------------------------------------


def write_failure(failure: NexusFailure) -> bytes:
    """A failure as a JSON body."""
    return json.dumps(_failure_object(failure), separators=(",", ":")).encode()


def _failure_object(failure: NexusFailure) -> dict[str, Any]:
    made: dict[str, Any] = {"message": failure.message}
    if failure.stack_trace:
        made["stackTrace"] = failure.stack_trace
    if failure.metadata:
        made["metadata"] = dict(failure.metadata)
    if failure.details:
        made["details"] = json.loads(failure.details)
    if failure.HasField("cause"):
        made["cause"] = _failure_object(failure.cause)
    return made


def read_failure(body: bytes) -> NexusFailure:
    """The failure that a JSON body is.

    Raises:
        MalformedMessage: it is none.
    """
    try:
        return _read_failure(json.loads(body), 0)
    except (ValueError, RecursionError):
        raise MalformedMessage("the body is no failure") from None


def _read_failure(found: Any, depth: int) -> NexusFailure:
    if not isinstance(found, dict):
        raise MalformedMessage("a failure is no object")
    metadata = found.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise MalformedMessage("a failure's metadata is no object")
    failure = NexusFailure(
        message=str(found.get("message") or ""),
        stack_trace=str(found.get("stackTrace") or ""),
        metadata={str(key): str(value) for key, value in metadata.items()},
    )
    if found.get("details") is not None:
        failure.details = json.dumps(found["details"], separators=(",", ":")).encode()
    if found.get("cause") is not None and depth < nexus_failures.DEPTH_MAX:
        failure.cause.CopyFrom(_read_failure(found["cause"], depth + 1))
    return failure


def unsuccessful(failure: NexusFailure, state: str) -> Unsuccessful:
    """How an operation ended by its failure as it came; `state` is the header's, for those that only say it there.

    Raises:
        MalformedFailure: the failure can't be read, or the state is none.
    """
    if failure.metadata.get("type") != "nexus.OperationError":
        return nexus_failures.of_state(state, nexus_failures.as_temporal(failure))
    details = json.loads(failure.details or b"{}")
    stated = str(details.get("state") or state) if isinstance(details, dict) else state
    cause: Failure
    if failure.metadata.get(UNWRAP) == "true" and failure.HasField("cause"):
        cause = nexus_failures.as_temporal(failure.cause)
    else:
        cause = nexus_failures.as_temporal(failure)
    return nexus_failures.of_state(stated, cause)


# --- times ------------------------------------------------------------------------------------------------------


def write_date(ns: int) -> str:
    """A moment (ns) as HTTP writes dates."""
    return format_datetime(datetime.fromtimestamp(ns // SECOND, UTC), usegmt=True)


def write_time(ns: int) -> str:
    """A moment (ns) with its fraction, by RFC 3339."""
    whole = datetime.fromtimestamp(ns // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{ns % SECOND:09d}Z"


def read_date(text: str) -> int:
    """The inverse of `write_date`; 0 for no text.

    Raises:
        MalformedMessage: it is no date.
    """
    if not text:
        return 0
    try:
        moment = parsedate_to_datetime(text)
        return max(int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()), 0) * SECOND
    except (ValueError, OverflowError, TypeError):
        raise MalformedMessage("failed to parse operation start time header") from None
