"""The blind index in a client and its workers: search attributes and filters are translated on the way out, and back.

Clients: each call of the service goes through one place of the SDK, so lists, counts, batch operations, schedules and
whatever else carries search attributes have it, raw calls included. Workers: what a workflow is told and what it asks for is
translated where activations go in and completions come out, outside of the sandbox; so a workflow's code sees and sets plain
values, and cannot forget to hide one. On replay the same comes out, whatever key is active by then: the SDK does not compare
the values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import ServiceClient
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from codec.blind_index import BlindIndex, IndexedMessages, translated_filter
from codec.readable import SYSTEM_REQUESTS


class IndexedService(ServiceClient):
    """A service client whose requests and responses are translated."""

    def __init__(self, service: ServiceClient, index: BlindIndex) -> None:
        super().__init__(service.config)
        self._service = service
        self.index = index
        self._messages = IndexedMessages(index)

    @property
    def worker_service_client(self) -> Any:
        """What workers poll with: the SDK's own, as they translate by themselves."""
        return self._service.worker_service_client

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """See the SDK's."""
        self._service.update_rpc_metadata(metadata)

    def update_api_key(self, api_key: str | None) -> None:
        """See the SDK's."""
        self._service.update_api_key(api_key)

    async def _rpc_call(
        self,
        rpc: str,
        req: Message,
        resp_type: Any,
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,  # noqa: ASYNC109 - the SDK's signature
    ) -> Any:
        if self._messages.concerns(req):
            # The caller's own stays as it is: they may send it again.
            copy = type(req)()
            copy.CopyFrom(req)
            req = copy
            self._messages.blind(req)
        response = await self._service._rpc_call(  # noqa: SLF001 - what every service client has to offer
            rpc, req, resp_type, service=service, retry=retry, metadata=metadata, timeout=timeout
        )
        self._messages.reveal(response)
        return response


class IndexedRunner(WorkflowRunner):
    """Runs workflows by another runner, and translates what goes in and comes out."""

    def __init__(self, runner: WorkflowRunner, index: BlindIndex) -> None:
        self._runner = runner
        self._messages = IndexedMessages(index)

    def prepare_workflow(self, defn: Any) -> None:
        """See the SDK's."""
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See the SDK's. What the workflow is told of itself at its start is in the details already."""
        info = dataclasses.replace(
            det.info,
            search_attributes={
                name: [self._revealed(name, value) for value in values]
                for name, values in det.info.search_attributes.items()
            },
            typed_search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(pair.key, self._revealed(pair.key.name, pair.value))
                    for pair in det.info.typed_search_attributes
                ]
            ),
        )
        instance = self._runner.create_instance(dataclasses.replace(det, info=info))
        return _IndexedInstance(instance, self._messages)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        """See the SDK's."""
        self._runner.set_worker_level_failure_exception_types(types)

    def _revealed(self, name: str, value: Any) -> Any:
        index = self._messages.index
        if name not in index.attributes:
            return value
        if isinstance(value, str):
            return index.reveal(name, value)
        if isinstance(value, Sequence):
            return [self._revealed(name, one) for one in value]
        return value


class _IndexedInstance(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance, messages: IndexedMessages) -> None:
        self._instance = instance
        self._messages = messages

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self._messages.reveal(act)
        completion = self._instance.activate(act)
        # An error here fails the task, which is tried again: nothing has left the process.
        self._messages.blind(completion)
        for command in completion.successful.commands:
            if command.HasField("schedule_nexus_operation"):
                self._blind_packed(command.schedule_nexus_operation.input)
        return completion

    def _blind_packed(self, payload: Any) -> None:
        """A request to the service's own Nexus endpoint (a start with a signal) travels packed in a payload."""
        kind = payload.metadata.get("messageType", b"").decode(errors="replace")
        if kind not in SYSTEM_REQUESTS or payload.metadata.get("encoding") != b"binary/protobuf":
            return
        request_type = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(kind))
        request: Any = request_type.FromString(payload.data)
        self._messages.blind(request)
        payload.data = request.SerializeToString()

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Any:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()


def blind_filter(service: ServiceClient, query: str) -> str:
    """A list filter as the service is to be asked, for calls that go another way (the official CLI's ``--query``).

    Raises:
        codec.blind_index.BlindIndexError: a condition can't be asked of hashes.
    """
    return translated_filter(service.index, query) if isinstance(service, IndexedService) else query
