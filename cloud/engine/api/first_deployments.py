"""The first form of the deployment API, which worker deployments replaced: refused, as the real server does."""

from __future__ import annotations

from typing import NoReturn

from google.protobuf.message import Message

from cloud.rpc import CallContext, Unimplemented


def _refuse() -> NoReturn:
    raise Unimplemented("Deployments are deprecated and no longer supported, use Worker Deployments instead")


class FirstDeploymentMethods:
    """See the module's head."""

    async def describe_deployment(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse()

    async def list_deployments(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse()

    async def get_deployment_reachability(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse()

    async def get_current_deployment(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse()

    async def set_current_deployment(self, request: Message, context: CallContext) -> Message:
        """Refused."""
        _refuse()
