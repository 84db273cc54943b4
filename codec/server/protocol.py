"""The codec protocol without a socket: what a request asks for, and how it is answered.

A request's namespace is what its path names before the operation (`/orders.acme/decode`), or its X-Namespace header;
the rest of the path is any prefix, as the web UI and the CLI let people choose one.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import enum
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload

NAMESPACE_HEADER = "x-namespace"
EXTRAS_HEADER = "authorization-extras"
"""Where the web UI puts the ID token beside its access token."""
PRESERVE_PARAMETER = "preserveStorageRefs"
PRESERVE_HEADER = "x-preserve-storage-refs"
"""The same for the CLI, which can send headers and no query."""

QUERY_FIELDS_MAX = 20
SENTENCE_CHARS_MAX = 2_000
OFF_LOOP_BYTES = 64 * 1024
"""Larger bodies are parsed and written in a thread: they take more than a moment of the event loop."""

_STANDARD = str.maketrans("-_", "+/")
_TEXT = {"content-type": "text/plain; charset=utf-8"}
_JSON = {"content-type": "application/json"}


class Operation(enum.StrEnum):
    """What a request asks for; the last part of its path."""

    ENCODE = "encode"
    DECODE = "decode"
    DOWNLOAD = "download"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A request before its body is read. Header names are in lower case; `path` is as it came, without the query."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    remote: str = ""
    read_body: Callable[[int], Awaitable[bytes]] = dataclasses.field(repr=False)
    """The whole body, given a bound in bytes; raises Refusal where it is longer, or does not come."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = dataclasses.field(default=b"", repr=False)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Refusal(Exception):
    """A request that is not answered as asked: an HTTP status, a sentence for the caller, a word for the audit line."""

    def __init__(
        self,
        status: int,
        sentence: str,
        reason: str,
        *,
        headers: Mapping[str, str] | None = None,
        why: str = "",
    ) -> None:
        """`why` is for this server's log alone: what a caller who proves nothing shall not learn."""
        super().__init__(sentence)
        self.why = why
        self.status = status
        self.sentence = sentence
        self.reason = reason
        self.headers = headers or {}

    def answer(self) -> Answer:
        """The refusal as it goes back."""
        # One line, whatever names of the caller's own the sentence repeats.
        words = "".join(c if c.isprintable() else "?" for c in " ".join(self.sentence.split()))
        return Answer(
            status=self.status,
            body=f"{words[:SENTENCE_CHARS_MAX]}\n".encode(),
            headers={**_TEXT, **self.headers},
        )


def operation_of(request: Request) -> Operation | None:
    """What the path asks for; None where it is no path of the protocol."""
    last = request.path.rpartition("/")[2]
    return Operation(last) if request.path.startswith("/") and last in list(Operation) else None


def namespace_of(request: Request, served: Collection[str]) -> str:
    """The namespace that a request is about: the header's, else the path's. One that is not served is for the caller's
    rights to refuse: nobody learns here which are.

    Raises:
        Refusal: neither names one and several are served.
    """
    named = request.headers.get(NAMESPACE_HEADER) or path_before(request)
    if named:
        return named
    if len(served) == 1:
        return next(iter(served))
    raise Refusal(
        400,
        "The request names no namespace: send the X-Namespace header, or put the namespace into the endpoint's path "
        "(http://HOST/{namespace}).",
        "malformed",
    )


def path_before(request: Request) -> str:
    """What stands before the operation in the path: a namespace, or any prefix; empty if nothing does.

    Raises:
        Refusal: the path is not UTF-8.
    """
    try:
        return unquote(request.path.rpartition("/")[0].rpartition("/")[2], errors="strict")
    except UnicodeDecodeError:
        raise Refusal(400, "The path is not UTF-8.", "malformed") from None


def keeps_references(request: Request) -> bool:
    """Whether references to stored payloads are to stay as they are.

    Raises:
        Refusal: the query can't be read.
    """
    try:
        fields = parse_qsl(
            request.query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
        )
    except ValueError:
        raise Refusal(400, "The query is not UTF-8, or has too many parameters.", "malformed") from None
    wanted = [value for name, value in fields if name == PRESERVE_PARAMETER]
    wanted.append(request.headers.get(PRESERVE_HEADER, ""))
    return any(value.lower() == "true" for value in wanted)


async def read_payloads(body: bytes, *, payloads_max: int) -> list[Payload]:
    """The payloads of a request's body.

    Raises:
        Refusal: it is no protojson `Payloads`, or has too many.
    """
    if len(body) < OFF_LOOP_BYTES:
        return _parsed(body, payloads_max)
    return await asyncio.to_thread(_parsed, body, payloads_max)


def payload_from(written: Mapping[str, Any]) -> Payload:
    """A payload from its JSON.

    Raises:
        ValueError, TypeError, AttributeError, google.protobuf.json_format.ParseError: it is none.
    """
    # The library's base64 drops what it does not know, which would make other data of it.
    metadata, data = written.get("metadata") or {}, written.get("data") or ""
    payload = Payload(metadata={key: _bytes(value) for key, value in metadata.items()}, data=_bytes(data))
    external = written.get("externalPayloads", written.get("external_payloads"))
    if external:
        # Fields that a newer one has are no reason not to show the rest of it.
        json_format.ParseDict({"externalPayloads": external}, payload, ignore_unknown_fields=True)
    return payload


async def written(payloads: Sequence[Payload], size: int) -> Answer:
    """The answer that holds `payloads`, of some `size` bytes in all."""
    if size < OFF_LOOP_BYTES:
        body = _text(payloads)
    else:
        body = await asyncio.to_thread(_text, payloads)
    return Answer(status=200, body=body, headers=_JSON)


def _parsed(body: bytes, payloads_max: int) -> list[Payload]:
    malformed = Refusal(
        400,
        'The body is no JSON of Payloads: {"payloads": [{"metadata": {"encoding": "BASE64"}, "data": "BASE64"}]}.',
        "malformed",
    )
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise malformed from None
    if not isinstance(document, dict) or not document.keys() <= {"payloads"}:
        raise malformed
    listed = document.get("payloads")
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise malformed
    if len(listed) > payloads_max:
        raise Refusal(
            413, f"The request has {len(listed)} payloads, and {payloads_max} are taken at once.", "too-large"
        )
    try:
        return [payload_from(one) for one in listed]
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError):
        raise malformed from None


def _bytes(text: str) -> bytes:
    """Base64 as protojson takes it: of either alphabet, with and without its padding."""
    padded = text.translate(_STANDARD) + "=" * (-len(text) % 4)
    return base64.b64decode(padded, validate=True)


def _text(payloads: Sequence[Payload]) -> bytes:
    # Not the protojson of Payloads, which leaves out an empty list: readers look for it.
    listed = [json_format.MessageToDict(payload) for payload in payloads]
    return json.dumps({"payloads": listed}, separators=(",", ":")).encode()
