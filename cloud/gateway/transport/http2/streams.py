"""One request and its answer on a connection."""

from __future__ import annotations

from typing import Any

from cloud.gateway.transport.http2.header_blocks import Block


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
