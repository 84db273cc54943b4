"""A gRPC server whose calls wait for ever: what a waiting call costs before anything of ours is in it. Argument: its port."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop

from cloud.gateway.limits import POLLS_MAX


class _Waiting(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(_wait)


async def _wait(_request: Any, _context: Any) -> bytes:
    await asyncio.get_running_loop().create_future()
    return b""


async def _serve(port: int) -> None:
    server = grpc.aio.server(
        options=(
            ("grpc.max_concurrent_streams", POLLS_MAX),
            ("grpc.server.max_pending_requests", POLLS_MAX),
            ("grpc.server.max_pending_requests_hard_limit", POLLS_MAX),
            ("grpc.so_reuseport", 0),
        )
    )
    server.add_generic_rpc_handlers((_Waiting(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
