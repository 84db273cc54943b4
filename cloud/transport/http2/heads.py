"""What a request's headers mean to gRPC: which method, until when, how compressed, which metadata; or why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from cloud.rpc import Code, InvalidArgument, Method
from cloud.transport.grpc_status import FinalStatus, admitted, of_refusal
from cloud.transport.http2.header_blocks import LIST_BYTES_MAX, Block, RequestFields
from cloud.transport.http2.messages import ACCEPTED, COMPRESSIONS, timeout_s, trailers_only

if TYPE_CHECKING:
    from cloud.transport.http2.streaming import StreamingCall

Conversation: TypeAlias = "Callable[[StreamingCall], Awaitable[None]]"
"""A method that is not unary: it receives and sends messages until it returns, or raises RpcError."""


class Refusal:
    """An answer that the headers alone decide. With a body it is HTTP's, else gRPC's."""

    __slots__ = ("body", "opening")

    def __init__(self, opening: Block, body: bytes = b"") -> None:
        self.opening = opening
        self.body = body


class Head:
    """A request's headers. Shared by all calls with the same ones, so nothing here changes.

    With them `authorization` lives as long as the connection, as it does in the table of header compression, where the
    client's own choice puts it. To read it anew for each call would cost more than all else here.

    `encoding` is what zlib calls the compression of messages. Just one of `method`, `conversation` and `refusal` is
    there.
    """

    __slots__ = (
        "authorization",
        "conversation",
        "encoding",
        "metadata",
        "method",
        "refusal",
        "timeout_s",
    )

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.refusal = refusal
        self.method: Method | None = None
        self.conversation: Conversation | None = None
        self.timeout_s: float | None = None
        self.encoding: int | None = None
        self.metadata: Mapping[str, str] = {}
        self.authorization: str | None = None


class Heads:
    """Reads heads for the methods of one server."""

    def __init__(self, methods: Mapping[str, Method], conversations: Mapping[str, Conversation]) -> None:
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._conversations = {path.encode(): talk for path, talk in conversations.items()}

    def read(self, request: RequestFields) -> Head:
        """What a well-formed request's headers mean."""
        content_type = b""
        head = Head()
        headers: list[tuple[str, str | bytes]] = []
        for name, value in request.fields:
            if name == b"content-type":
                content_type = value
            elif name.startswith(b"grpc-"):
                if name == b"grpc-timeout":
                    head.timeout_s = timeout_s(value)
                    if head.timeout_s is None:
                        return _refused(Code.INVALID_ARGUMENT, "grpc-timeout can't be read.")
                elif name == b"grpc-encoding" and value != b"identity":
                    head.encoding = COMPRESSIONS.get(value)
                    if head.encoding is None:
                        return _refused(
                            Code.UNIMPLEMENTED,
                            f"Messages may be compressed by {ACCEPTED} only.",
                            ("grpc-accept-encoding", ACCEPTED),
                        )
            elif name == b"authorization" and value.strip() != value:
                return _refused(
                    Code.UNAUTHENTICATED,
                    "The header authorization has blanks around its value. Is the API key empty, or was more copied "
                    "than the key? Send `authorization: Bearer <key>` (TEMPORAL_API_KEY, or api_key in the profile); "
                    "client certificates are taken on the service's other port.",
                )
            elif name not in _NOT_METADATA and not name.endswith(b"-bin"):
                headers.append((name.decode("latin-1"), _text(value)))
        if not _is_grpc(content_type):
            return Head(_NOT_GRPC)
        if request.method != b"POST":
            return Head(_NOT_POST)
        if request.too_large:
            return _refused(
                Code.RESOURCE_EXHAUSTED, f"The call's headers are larger than {LIST_BYTES_MAX} bytes."
            )
        try:
            metadata, head.authorization = admitted(headers)
        except InvalidArgument as refusal:
            return Head(Refusal(trailers_only(of_refusal(refusal))))
        head.metadata = MappingProxyType(metadata)
        head.method = self._methods.get(request.path)
        if head.method is None:
            head.conversation = self._conversations.get(request.path)
            if head.conversation is None:
                path = request.path[:200].decode("utf-8", "replace")
                return _refused(Code.UNIMPLEMENTED, f"{path} is not served here.")
        return head


_NOT_METADATA = frozenset({b"te", b"host", b"content-length"})


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _is_grpc(content_type: bytes) -> bool:
    return content_type == b"application/grpc" or content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    )


def _refused(code: Code, sentence: str, *more: tuple[str, str]) -> Head:
    return Head(Refusal(trailers_only(FinalStatus(code, sentence), *more)))


def _plain(status: int, sentence: str) -> Refusal:
    return Refusal(Block((":status", str(status)), ("content-type", "text/plain")), sentence.encode())


_NOT_GRPC = _plain(415, "This port speaks gRPC: content-type application/grpc.\n")
_NOT_POST = _plain(405, "gRPC calls are POST requests.\n")
