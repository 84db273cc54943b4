"""Packet captures: TCP streams put together again, and in them HTTP/2, its headers and gRPC's messages.

TLS is opaque: what is in it can't be looked at, and is counted. Capture on the plaintext side of whatever ends TLS, or on
loopback. Streams lie in files of a temporary directory while they are put together, so memory is bounded.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dpkt
import hpack

from codec.audit.looking import Looker
from codec.audit.mapping import mapped
from codec.audit.needles import AuditError
from codec.audit.unpacking import Budget

MAGICS = (
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\xc3\xd4",
    b"\x4d\x3c\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x0a\x0d\x0d\x0a",
)
"""How pcap (both byte orders, micro- and nanoseconds) and pcapng files begin."""

OUT_OF_ORDER_MAX = 4096
"""Segments that a direction may be ahead by; then what is missing is taken as not captured."""
HELD_BYTES_MAX = 1024 * 1024
MESSAGE_BYTES_MAX = 64 * 1024 * 1024

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_DATA, _HEADERS, _SETTINGS, _CONTINUATION = 0, 1, 4, 9
_END_HEADERS, _PADDED, _PRIORITY, _END_STREAM = 4, 8, 32, 1
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_SEQUENCE = 1 << 32


@dataclasses.dataclass
class _Direction:
    """One side of a connection: what it sent, in order, in a file."""

    name: str
    path: Path
    next: int | None = None
    ahead: dict[int, bytes] = dataclasses.field(default_factory=dict)
    held: bytearray = dataclasses.field(default_factory=bytearray)
    gaps: int = 0

    def segment(self, sequence: int, data: bytes, *, begins: bool) -> None:
        if begins:
            self.next = (sequence + 1) % _SEQUENCE
        if not data:
            return
        if self.next is None:
            self.next = sequence
        offset = (sequence - self.next) % _SEQUENCE
        if offset and offset < _SEQUENCE // 2:
            self.ahead[sequence] = data
            if len(self.ahead) > OUT_OF_ORDER_MAX:
                self.skip()
            return
        self._take(sequence, data)
        while self.next in self.ahead:
            self._take(self.next, self.ahead.pop(self.next))

    def skip(self) -> None:
        """Go on behind what is missing."""
        while self.ahead:
            first = min(self.ahead, key=lambda one: (one - (self.next or 0)) % _SEQUENCE)
            self.gaps += 1
            self.next = first
            while self.next in self.ahead:
                self._take(self.next, self.ahead.pop(self.next))

    def _take(self, sequence: int, data: bytes) -> None:
        assert self.next is not None
        known = (self.next - sequence) % _SEQUENCE
        fresh = data[known:] if known < len(data) else b""
        self.held += fresh
        self.next = (self.next + len(fresh)) % _SEQUENCE
        if len(self.held) > HELD_BYTES_MAX:
            self.write()

    def write(self) -> None:
        with self.path.open("ab") as file:
            file.write(self.held)
        self.held.clear()


def look_at_capture(looker: Looker, path: Path) -> None:
    """All that a capture holds.

    Raises:
        AuditError: it is damaged, or of a kind of network that is not known.
    """
    source = str(path)
    budget = looker.begin(source)
    with tempfile.TemporaryDirectory(prefix="tacit-audit-") as folder:
        directions = _reassembled(looker, path, Path(folder))
        for direction in directions:
            direction.skip()
            direction.write()
            if direction.gaps:
                looker.report.unread.append(f"{source}: {direction.gaps} gaps in {direction.name}")
            if direction.path.stat().st_size:
                _look_at_stream(looker, source, direction.name, mapped(direction.path), budget)


def _reassembled(looker: Looker, path: Path, folder: Path) -> list[_Direction]:
    directions: dict[tuple[bytes, int, bytes, int], _Direction] = {}
    latest: dict[tuple[bytes, int, bytes, int], int] = {}
    made: list[_Direction] = []
    try:
        with path.open("rb") as file:
            reader = dpkt.pcap.UniversalReader(file)
            for _, packet in reader:
                looker.advance(str(path), len(packet))
                segment = _tcp_of(reader.datalink(), packet)
                if segment is None:
                    continue
                (source, target), tcp = segment
                key = (source, tcp.sport, target, tcp.dport)
                begins = bool(tcp.flags & dpkt.tcp.TH_SYN)
                # A port is used again: another connection, whose numbers begin elsewhere.
                if key not in directions or (begins and latest.get(key) not in (None, tcp.seq)):
                    name = f"{_address(source)}:{tcp.sport} > {_address(target)}:{tcp.dport}"
                    directions[key] = _Direction(name, folder / f"{len(made)}")
                    made.append(directions[key])
                if begins:
                    latest[key] = tcp.seq
                directions[key].segment(tcp.seq, bytes(tcp.data), begins=begins)
    except (ValueError, dpkt.dpkt.Error, OSError) as error:
        raise AuditError(f"The capture {path} can't be read: {error or type(error).__name__}.") from None
    return made


def _tcp_of(link: int, packet: bytes) -> tuple[tuple[bytes, bytes], dpkt.tcp.TCP] | None:
    try:
        match link:
            case dpkt.pcap.DLT_EN10MB:
                inner = dpkt.ethernet.Ethernet(packet).data
            case dpkt.pcap.DLT_LINUX_SLL:
                inner = dpkt.sll.SLL(packet).data
            case dpkt.pcap.DLT_LINUX_SLL2:
                inner = dpkt.sll2.SLL2(packet).data
            case dpkt.pcap.DLT_NULL | dpkt.pcap.DLT_LOOP:
                inner = dpkt.loopback.Loopback(packet).data
            case 101 | 12 | 14 | 228 | 229:
                inner = dpkt.ip6.IP6(packet) if packet[:1] and packet[0] >> 4 == 6 else dpkt.ip.IP(packet)
            case _:
                raise AuditError(
                    f"The capture's kind of network ({link}) is not known here; capture on Ethernet or loopback."
                )
    except (dpkt.dpkt.Error, IndexError):
        return None  # a packet that was cut, or is none of ours
    if not isinstance(inner, dpkt.ip.IP | dpkt.ip6.IP6) or not isinstance(inner.data, dpkt.tcp.TCP):
        return None
    return (inner.src, inner.dst), inner.data


def _address(raw: bytes) -> str:
    return ".".join(map(str, raw)) if len(raw) == 4 else "[" + raw.hex(":", 2) + "]"


def _look_at_stream(looker: Looker, source: str, name: str, data: memoryview, budget: Budget) -> None:
    if bytes(data[:2]) == b"\x16\x03":
        looker.report.opaque["bytes in TLS"] += len(data)
        looker.readable("TLS connection", f"{name}, {len(data)} bytes")
    is_http2 = bytes(data[: len(_PREFACE)]) == _PREFACE
    # A server's side begins with its settings.
    answers = (
        len(data) >= _FRAME_HEAD and data[3] == _SETTINGS and data[0] == 0 and bytes(data[5:9]) == bytes(4)
    )
    if is_http2 or answers:
        for stream, content in _http2(looker, source, name, data[len(_PREFACE) if is_http2 else 0 :]):
            looker.look(content, source, f"{name}, {stream}", budget)
        # The frames themselves: what is between messages, and what is no HTTP/2 after all.
        looker.look(data, source, f"{name}, as it travelled", budget, counted=False)
    else:
        looker.look(data, source, name, budget)


def _http2(looker: Looker, source: str, name: str, data: memoryview) -> Iterator[tuple[str, bytes]]:
    """Each stream's data (gRPC's messages, whole) and each block of headers, decoded."""
    streams: dict[int, bytearray] = {}
    decoder: hpack.Decoder | None = hpack.Decoder(max_header_list_size=HELD_BYTES_MAX)
    block = bytearray()
    position = 0
    while position + _FRAME_HEAD <= len(data):
        size = int.from_bytes(data[position : position + 3], "big")
        kind, flags = data[position + 3], data[position + 4]
        stream = int.from_bytes(data[position + 5 : position + 9], "big") & 0x7FFFFFFF
        frame = data[position + _FRAME_HEAD : position + _FRAME_HEAD + size]
        position += _FRAME_HEAD + size
        if kind in (_DATA, _HEADERS) and flags & _PADDED and len(frame):
            frame = frame[1 : max(1, len(frame) - frame[0])]
        if kind == _DATA:
            held = streams.setdefault(stream, bytearray())
            held += frame
            if flags & _END_STREAM or len(held) > MESSAGE_BYTES_MAX:
                yield f"stream {stream}", bytes(streams.pop(stream))
        elif kind in (_HEADERS, _CONTINUATION):
            if kind == _HEADERS:
                block.clear()
                frame = frame[5:] if flags & _PRIORITY else frame
            block += frame
            if flags & _END_HEADERS and decoder is not None:
                try:
                    headers = decoder.decode(bytes(block), raw=True)
                except (hpack.HPACKError, ValueError):
                    looker.report.unread.append(
                        f"{source}: headers of {name} from stream {stream} on (the capture began later than the connection)"
                    )
                    decoder = None
                    continue
                lines = []
                for header, value in headers:
                    lines.append(header + b": " + value)
                    text = header.decode(errors="replace")
                    if text not in _SECRET_HEADERS:
                        looker.readable(f"header {text}", value.decode(errors="replace"))
                yield f"headers of stream {stream}", b"\n".join(lines)
            if kind == _HEADERS and flags & _END_STREAM and stream in streams:
                yield f"stream {stream}", bytes(streams.pop(stream))
    for stream, rest in streams.items():
        yield f"stream {stream}", bytes(rest)
