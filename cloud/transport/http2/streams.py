"""One request and its answer on a connection, and what the layer above is told of them."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from cloud.transport.http2.header_blocks import Block

Handled = TypeVar("Handled", contravariant=True)


class Unsent:
    """What of an answer must wait for the peer's window or for the socket. The first `sent` bytes of the body are gone.

    `left_before` are the bytes that waited when the stream was last seen to move, `still` the ticks since.
    """

    __slots__ = ("body", "closing", "ends", "left_before", "opening", "sent", "still")

    def __init__(self, opening: Block | None, body: bytes, closing: Block | None, ends: bool) -> None:
        self.opening = opening
        self.body = body
        self.sent = 0
        self.closing = closing
        self.ends = ends
        self.left_before = len(body)
        self.still = 0


class Stream:
    """The protocol's side of a stream; `call` belongs to the layer above.

    `window` is what may be sent, `credit` what the peer may send, `owed` what was taken in and not given back to it
    yet; all in bytes. `expected` is what content-length leaves to come. `born` is the interval of the flood counters
    in which the stream was opened.
    """

    __slots__ = (
        "born",
        "call",
        "closed",
        "credit",
        "expected",
        "id",
        "owed",
        "peer_is_sending",
        "unsent",
        "window",
    )

    def __init__(self, stream_id: int, window: int, credit: int, born: int) -> None:
        self.id = stream_id
        self.window = window
        self.credit = credit
        self.born = born
        self.owed = 0
        self.expected: int | None = None
        self.peer_is_sending = True
        self.closed = False
        self.unsent: Unsent | None = None
        self.call: Any = None


class Handler(Protocol[Handled]):
    """What happens on a connection. None of these may raise."""

    def request(self, stream: Stream, meaning: Handled, ended: bool) -> None:
        """A request's headers are there; with `ended`, nothing follows."""

    def data(self, stream: Stream, chunk: bytes, ended: bool) -> None:
        """More of a request's body; `Connection.consumed` lets the peer send as much again."""

    def reset(self, stream: Stream) -> None:
        """The stream is over, by the peer's will or fault: there is nobody to answer."""

    def drained(self, stream: Stream) -> None:
        """All that was sent on the stream so far has left."""

    def output(self) -> None:
        """There is something to write; asked again only after `take_output`."""
