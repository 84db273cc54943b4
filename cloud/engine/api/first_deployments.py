"""The first form of the deployment API, which worker deployments replaced: refused, as the real server does."""

from __future__ import annotations

from typing import Any, NoReturn

from google.protobuf.message import Message

from cloud.engine.api import checks
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, Unimplemented


def _refuse(runtime: Runtime, request: Any) -> NoReturn:
    checks.namespace_of(runtime, request.namespace)
    raise Unimplemented("Deployments are deprecated and no longer supported, use Worker Deployments instead")


class FirstDeploymentMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def describe_deployment(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse(self._runtime, request)

    async def list_deployments(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse(self._runtime, request)

    async def get_deployment_reachability(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse(self._runtime, request)

    async def get_current_deployment(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse(self._runtime, request)

    async def set_current_deployment(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse(self._runtime, request)
