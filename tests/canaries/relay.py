"""A relay between a client and a server that keeps all that passes, as a packet capture would."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dpkt

SEGMENT_BYTES_MAX = 32_000
_CLIENT, _SERVER = socket.inet_aton("127.0.0.1"), socket.inet_aton("127.0.0.2")
_RAW_IP = 101


class Capture:
    """A pcap file of TCP connections whose packets are made up, and whose content is real."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._writer = dpkt.pcap.Writer(self._file, linktype=_RAW_IP)

    def segment(self, port: int, data: bytes, sequence: int, *, from_client: bool, flags: int) -> None:
        ports = (port, 7233) if from_client else (7233, port)
        tcp = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], seq=sequence % (1 << 32), flags=flags, data=data)
        source, target = (_CLIENT, _SERVER) if from_client else (_SERVER, _CLIENT)
        packet = dpkt.ip.IP(src=source, dst=target, p=dpkt.ip.IP_PROTO_TCP, data=tcp)
        packet.len = len(packet)
        self._writer.writepkt(packet, time.time())

    def close(self) -> None:
        self._file.close()


@asynccontextmanager
async def relay(target: str, path: Path) -> AsyncIterator[str]:
    """An address that stands for `target`; what passes is in the capture at `path` afterwards."""
    host, _, port = target.rpartition(":")
    capture = Capture(path)
    numbers = itertools.count(20_000)
    tasks: set[asyncio.Task[None]] = set()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, *, from_client: bool
    ) -> None:
        sequence = 1000
        capture.segment(number, b"", sequence, from_client=from_client, flags=dpkt.tcp.TH_SYN)
        sequence += 1
        try:
            while data := await reader.read(SEGMENT_BYTES_MAX):
                capture.segment(number, data, sequence, from_client=from_client, flags=dpkt.tcp.TH_ACK)
                sequence += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        number = next(numbers)
        for ends, from_client in (((reader, there_writer), True), ((there_reader, writer), False)):
            task = asyncio.create_task(pump(*ends, number, from_client=from_client))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        capture.close()
