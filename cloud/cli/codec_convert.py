"""`tacit codec decode` and `encode`: payloads in JSON documents, on this machine, with the keys of a profile.

A document is a Payload, a list of them, Payloads, or anything that has some within: the history that
`temporal workflow show --output json` prints, a description, an answer of the HTTP API.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from rich.console import Console
from rich.progress import Progress
from temporalio.api.common.v1 import Payload

from cloud.cli.output import EXIT_FAILED, EXIT_MISUSED, Output, OutputOption, fail, note
from codec import CodecError
from codec.server.allowances import Bounds
from codec.server.namespaces import NamespaceCodec, Worked
from codec.server.protocol import Refusal, payload_from
from sdk import SdkError, data_converter, load_profile
from sdk.converter import options_of

DECODE_EXAMPLE = "Example: temporal workflow show -w order-7 --output json | tacit codec decode"
ENCODE_EXAMPLE = "Example: echo '{\"customer\": 7}' | tacit codec encode --value --output json"

DOCUMENT_BYTES_MAX = 256 * 1024 * 1024
"""A history has at most some 50 MB; its JSON is larger by a half."""
DEPTH_MAX = 200
PROGRESS_FROM = 200
_MIB = 1024 * 1024
_PAYLOAD_KEYS = frozenset({"metadata", "data", "externalPayloads"})

_TOO_LARGE = "the payload is larger than is fetched here: raise --fetch-mib, or give --keep-references"

FileArgument = Annotated[
    str,
    typer.Argument(metavar="[FILE]", help="A file of JSON; - (or nothing) reads stdin.", show_default=False),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="The profile whose keys and store are used.", show_default=False),
]


@dataclasses.dataclass(slots=True)
class _Found:
    """A payload of the document, and how to put another value in its place."""

    path: str
    payload: Payload
    put: Callable[[Any], None]


def decode(
    file: FileArgument = "-",
    profile: ProfileOption = None,
    keep_references: Annotated[
        bool, typer.Option("--keep-references", help="Do not fetch payloads that are in the object store.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave what can't be decoded as it is, and end with 1.")
    ] = False,
    fetch_mib: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Largest payload that is fetched from the object store, in MiB."),
    ] = 64,
    output: OutputOption = Output.TEXT,
) -> None:
    """Decode all payloads in a JSON document.

    As text, payloads of JSON are shown as their values. With --output json each stays a Payload, decoded, so that the
    document keeps its form: a history can be replayed.
    """
    codec = _codec(profile, fetch_mib)
    document, found = _document(file)

    async def work(payload: Payload, worked: Worked) -> None:
        await codec.decode([payload], worked, keep_references=keep_references)

    failed = asyncio.run(_change(found, work, keep_going=keep_going))
    result = _with_failures(document.value)
    if output is Output.TEXT:
        result = _with_values(result)
    _print(result, output, several=isinstance(result, list))
    if failed:
        fail(f"{failed} of {len(found)} payloads could not be decoded, and stand as they were", EXIT_FAILED)


def encode(
    file: FileArgument = "-",
    profile: ProfileOption = None,
    value: Annotated[
        bool, typer.Option("--value", help="The document is a value of your own, to be made a payload of.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Encode a Payload, Payloads, or a JSON value, as a client with this profile sends it."""
    codec = _codec(profile, 64)
    if value:
        content = json.dumps(_parsed(_read(file)), separators=(",", ":"), ensure_ascii=False).encode()
        payload = Payload(metadata={"encoding": b"json/plain"}, data=content)
        document = _Document(None)
        found = [_Found("", payload, document.put)]
    else:
        document, found = _document(file)
        if not _is_payloads(document.value):
            fail(
                "the document is no Payload and no Payloads; give --value to encode a value of your own",
                EXIT_MISUSED,
            )

    async def work(payload: Payload, worked: Worked) -> None:
        await codec.encode([payload], worked)

    asyncio.run(_change(found, work, keep_going=False))
    _print(document.value, output, several=False)


class _Document:
    """The JSON document as a whole, which may itself be a payload."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def put(self, value: Any) -> None:
        self.value = value


def _codec(profile: str | None, fetch_mib: int) -> NamespaceCodec:
    try:
        options = dataclasses.replace(options_of(load_profile(profile)), refuse_plaintext=False)
        converter = data_converter(options)
    except (SdkError, CodecError) as error:
        fail(str(error))
    bounds = Bounds(
        fetched_payload_bytes_max=fetch_mib * _MIB,
        fetched_request_bytes_max=fetch_mib * _MIB,
        answer_bytes_max=DOCUMENT_BYTES_MAX,
    )
    return NamespaceCodec(codec=converter.payload_codec, storage=converter.external_storage, bounds=bounds)


def _document(file: str) -> tuple[_Document, list[_Found]]:
    document = _Document(_parsed(_read(file)))
    try:
        return document, list(_payloads_in(document.value, "", document.put))
    except RecursionError:
        fail(f"the document is nested deeper than {DEPTH_MAX}")


def _read(file: str) -> bytes:
    if file == "-":
        if sys.stdin.isatty():
            note("Reading JSON from the terminal; end it with Ctrl-D.")
        content = sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
    else:
        try:
            with Path(file).open("rb") as opened:
                content = opened.read(DOCUMENT_BYTES_MAX + 1)
        except OSError as error:
            fail(f"{file} can't be read: {error.strerror}")
    if len(content) > DOCUMENT_BYTES_MAX:
        fail(f"the document is larger than {DOCUMENT_BYTES_MAX // _MIB} MiB")
    return content


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        fail(f"the document is no JSON{place}: give a Payload, Payloads, or a history (`--output json`)")


def _payloads_in(value: Any, path: str, put: Callable[[Any], None], depth: int = 0) -> Iterator[_Found]:
    if depth > DEPTH_MAX:
        raise RecursionError
    if isinstance(value, dict):
        payload = _payload(value)
        if payload is not None:
            yield _Found(path, payload, put)
            return
        for key, inner in value.items():
            yield from _payloads_in(inner, f"{path}.{key}" if path else key, _setter(value, key), depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _payloads_in(inner, f"{path}[{number}]", _setter(value, number), depth + 1)


def _setter(holder: Any, key: Any) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        holder[key] = value

    return put


def _payload(value: dict[str, Any]) -> Payload | None:
    """The payload that a JSON object is, None if it is something else."""
    metadata = value.get("metadata")
    if not value.keys() <= _PAYLOAD_KEYS or not isinstance(metadata, dict) or "encoding" not in metadata:
        return None
    try:
        return payload_from(value)
    except (ValueError, TypeError, AttributeError, json_format.ParseError):
        return None


def _is_payloads(document: Any) -> bool:
    if isinstance(document, dict) and document.keys() == {"payloads"}:
        document = document["payloads"]
    listed = document if isinstance(document, list) else [document]
    return bool(listed) and all(isinstance(one, dict) and _payload(one) is not None for one in listed)


async def _change(found: list[_Found], work: Callable[[Payload, Worked], Any], *, keep_going: bool) -> int:
    """Put each payload's changed form in its place; returns how many could not be changed."""
    failed = 0
    # A bar only where a person waits and sees it.
    console = Console(stderr=True)
    shown = len(found) >= PROGRESS_FROM and console.is_terminal
    with Progress(console=console, disable=not shown, transient=True) as progress:
        task = progress.add_task("payloads", total=len(found))
        for one in found:
            worked = Worked()
            try:
                await work(one.payload, worked)
            except Refusal as refusal:
                sentence = _TOO_LARGE if refusal.status == 413 else refusal.sentence
                if not keep_going:
                    fail(f"{one.path}: {sentence}" if one.path else sentence)
                failed += 1
                note(f"{one.path or 'the payload'}: {sentence}")
            else:
                one.put(json_format.MessageToDict(worked.payloads[0]))
            progress.advance(task)
    return failed


def _with_failures(value: Any) -> Any:
    """The document with the messages of failures that were decoded where a reader looks for them."""
    if isinstance(value, list):
        return [_with_failures(one) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_failures(one) for key, one in value.items()}
    attributes = changed.get("encodedAttributes")
    if isinstance(attributes, dict):
        words = _json_value(attributes)
        if isinstance(words, dict) and isinstance(words.get("message"), str):
            del changed["encodedAttributes"]
            changed["message"] = words["message"]
            if isinstance(words.get("stack_trace"), str) and words["stack_trace"]:
                changed["stackTrace"] = words["stack_trace"]
    return changed


_NO_VALUE = object()


def _with_values(value: Any) -> Any:
    """The document with payloads of JSON as their values, for people."""
    if isinstance(value, list):
        return [_with_values(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"payloads"} and isinstance(value["payloads"], list):
        return _with_values(value["payloads"])
    inner = _json_value(value)
    return {key: _with_values(one) for key, one in value.items()} if inner is _NO_VALUE else inner


def _json_value(value: dict[str, Any]) -> Any:
    payload = _payload(value)
    if payload is None:
        return _NO_VALUE
    encoding = payload.metadata["encoding"]
    if encoding == b"binary/null":
        return None
    if not encoding.startswith(b"json/"):
        return _NO_VALUE
    try:
        return json.loads(payload.data)
    except (ValueError, RecursionError):
        return _NO_VALUE


def _print(document: Any, output: Output, *, several: bool) -> None:
    if several and output is Output.TEXT:
        # Several values, one a line: what `head` and `grep` work on.
        for one in document:
            typer.echo(json.dumps(one, ensure_ascii=False))
        return
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
