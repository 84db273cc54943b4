"""The workflow state machine, sans-IO: requests and events in, events and effects out.

Imports protos and the standard library alone: no asyncio, SQL, gRPC, clock or randomness. Time and ids arrive with the
:class:`~cloud.engine.core.turn.Turn`. Start reading at ``machine.py``.
"""
