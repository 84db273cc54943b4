from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceResponse,
    ExecuteMultiOperationRequest,
    ListSchedulesRequest,
    PollActivityTaskQueueResponse,
    PollNexusTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskFailedRequest,
    RespondNexusTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.converter import ExternalStorage

from cloud.gateway.method_table import METHOD_TABLE
from codec import MissingKey, ObjectStoreDriver, OffloadError
from codec.places import Places
from codec.proxy.namespaces import Renaming, SeveralNamespaces, namespace_accessor
from codec.proxy.offload import Offload
from codec.proxy.tasks import (
    PAUSE_S_MAX,
    TASK_FIELDS,
    TaskFinders,
    failed,
    failed_instead,
    outside_tasks,
    pause_s,
)
from codec.proxy.unknown import without_unknown
from codec.storage.sdk_references import is_reference
from codec.walk import Walkers

METHODS = [row.method for row in METHOD_TABLE.values() if row.method]
LARGE = Payload(metadata={"encoding": b"binary/plain"}, data=bytes(1_000))


class TestOffload:
    @pytest.fixture
    def driver(self, tmp_path: Path) -> ObjectStoreDriver:
        return ObjectStoreDriver(tmp_path.as_uri(), namespace="orders")

    async def test_references_are_the_sdks_own(self, driver: ObjectStoreDriver) -> None:
        ours = Offload(driver, threshold_bytes=500, namespace="orders")
        theirs = ExternalStorage(drivers=[driver], payload_size_threshold=500)
        small = Payload(data=b"small")
        stored = await ours.store([small, LARGE])
        by_sdk = await theirs._store_payload_sequence([small, LARGE])
        assert stored[0] == by_sdk[0] == small
        assert is_reference(stored[1])
        assert list(stored[1].external_payloads) == list(by_sdk[1].external_payloads)
        assert await ours.retrieve(by_sdk) == [small, LARGE]
        assert await theirs._retrieve_payload_sequence(stored) == [small, LARGE]

    async def test_a_reference_is_not_stored_again(self, driver: ObjectStoreDriver) -> None:
        offload = Offload(driver, threshold_bytes=10, namespace="orders")
        stored = await offload.store([LARGE])
        assert await offload.store(stored) == stored

    async def test_the_older_form_is_read(self, driver: ObjectStoreDriver) -> None:
        [claim] = await driver.store(None, [LARGE])  # type: ignore[arg-type]
        old: dict[str, Any] = {"driver_name": driver.name(), "driver_claim": {"claim_data": claim.claim_data}}
        reference = Payload(
            metadata={"encoding": b"json/external-storage-reference"},
            data=json.dumps(old).encode(),
        )
        assert await Offload(driver, threshold_bytes=1, namespace="orders").retrieve([reference]) == [LARGE]

    async def test_another_drivers_reference_stays(self, tmp_path: Path, driver: ObjectStoreDriver) -> None:
        other = ObjectStoreDriver((tmp_path / "b").as_uri(), namespace="orders", name="other")
        stored = await Offload(other, threshold_bytes=1, namespace="orders").store([LARGE])
        assert await Offload(driver, threshold_bytes=1, namespace="orders").retrieve(stored) == stored

    @pytest.mark.parametrize("data", [b"", b"no json", b"[]", b'{"driverName": 1}', b"x" * 10_000])
    async def test_a_malformed_reference_is_an_error(self, driver: ObjectStoreDriver, data: bytes) -> None:
        for metadata in (
            {
                "encoding": b"json/protobuf",
                "messageType": b"temporal.api.sdk.v1.ExternalStorageReference",
            },
            {"encoding": b"json/external-storage-reference"},
        ):
            with pytest.raises(OffloadError):
                await Offload(driver, threshold_bytes=1, namespace="orders").retrieve(
                    [Payload(metadata=metadata, data=data)]
                )


class TestNamespaces:
    def test_who_says_it(self) -> None:
        accessor = namespace_accessor(StartWorkflowExecutionRequest.DESCRIPTOR)
        assert accessor is not None
        assert accessor(StartWorkflowExecutionRequest(namespace="n")) == "n"
        without = [m.name for m in METHODS if namespace_accessor(m.request_type.DESCRIPTOR) is None]
        assert "GetSystemInfo" in without
        assert "ListNamespaces" in without
        assert not [name for name in without if name.startswith(("Poll", "Respond", "Start", "Signal"))]

    def test_parts_of_one_call_agree(self) -> None:
        accessor = namespace_accessor(ExecuteMultiOperationRequest.DESCRIPTOR)
        assert accessor is not None
        request = ExecuteMultiOperationRequest(namespace="n")
        request.operations.add().start_workflow.namespace = "n"
        assert accessor(request) == "n"
        request.operations.add().update_workflow.namespace = "other"
        with pytest.raises(SeveralNamespaces):
            accessor(request)

    def test_names_are_written_anew_wherever_they_stand(self) -> None:
        renaming = Renaming()
        names = {"orders": "orders.acme"}
        request = RespondWorkflowTaskCompletedRequest(namespace="orders")
        child = request.commands.add().start_child_workflow_execution_command_attributes
        child.namespace = "orders"
        signal = request.commands.add().signal_external_workflow_execution_command_attributes
        signal.namespace = "elsewhere"
        rename = renaming.of(request.DESCRIPTOR)
        assert rename is not None
        assert rename(request, names)
        assert not rename(request, names)
        assert (request.namespace, child.namespace, signal.namespace) == (
            "orders.acme",
            "orders.acme",
            "elsewhere",
        )
        described = DescribeNamespaceResponse()
        described.namespace_info.name = "orders"
        rename = renaming.of(described.DESCRIPTOR)
        assert rename is not None
        assert rename(described, names)
        assert described.namespace_info.name == "orders.acme"

    def test_types_without_names_are_left_alone(self) -> None:
        assert Renaming().of(Payload.DESCRIPTOR) is None
        assert Renaming().of(ListSchedulesRequest.DESCRIPTOR) is not None


class TestUnknownFields:
    def test_known_messages_pass(self) -> None:
        request = StartWorkflowExecutionRequest(namespace="n", input=Payloads(payloads=[LARGE]))
        assert without_unknown(StartWorkflowExecutionRequest, request.SerializeToString()) == (request, None)

    def test_a_field_with_text_is_told(self) -> None:
        data = StartWorkflowExecutionRequest(namespace="n").SerializeToString() + b"\xfa\x3e\x06secret"
        _, found = without_unknown(StartWorkflowExecutionRequest, data)
        assert found is not None
        assert "field 1007" in found
        assert "secret" not in found

    def test_so_is_one_within(self) -> None:
        payload = Payload(data=b"x").SerializeToString() + b"\xfa\x3e\x06secret"
        failure = Failure(message="m")
        data = failure.SerializeToString() + b"\x12\x00"
        assert without_unknown(Failure, data)[1] is None
        whole = b"\x0a" + bytes([len(payload)]) + payload
        assert without_unknown(Payloads, whole)[1] is not None

    def test_numbers_pass_and_stay(self) -> None:
        data = StartWorkflowExecutionRequest(namespace="n").SerializeToString() + b"\xf8\x3e\x01"
        message, found = without_unknown(StartWorkflowExecutionRequest, data)
        assert found is None
        assert message.SerializeToString() == data


class TestTasks:
    def test_the_fields_that_hold_tasks(self) -> None:
        kinds = {
            PollWorkflowTaskQueueResponse.DESCRIPTOR.full_name,
            PollActivityTaskQueueResponse.DESCRIPTOR.full_name,
            PollNexusTaskQueueResponse.DESCRIPTOR.full_name,
        }
        fields: set[str] = set()
        seen: set[str] = set()

        def look(descriptor: Any) -> None:
            if descriptor.full_name in seen:
                return
            seen.add(descriptor.full_name)
            for field in descriptor.fields:
                if field.message_type is not None:
                    if field.message_type.full_name in kinds:
                        fields.add(field.name)
                    look(field.message_type)

        for method in METHODS:
            look(method.response_type.DESCRIPTOR)
        assert fields == TASK_FIELDS

    def test_they_are_found_and_taken_out(self) -> None:
        response = RespondWorkflowTaskCompletedResponse()
        response.workflow_task.task_token = b"w"
        for token in (b"1", b"2"):
            response.activity_tasks.add().task_token = token
        find = TaskFinders().of(response.DESCRIPTOR)
        assert find is not None
        tasks = list(find(response))
        assert [task.message.task_token for task in tasks] == [b"w", b"1", b"2"]
        tasks[0].remove()
        tasks[1].remove()
        assert not response.HasField("workflow_task")
        assert [one.task_token for one in response.activity_tasks] == [b"2"]

    def test_a_poll_is_a_task_itself(self) -> None:
        find = TaskFinders().of(PollWorkflowTaskQueueResponse.DESCRIPTOR)
        assert find is not None
        assert list(find(PollWorkflowTaskQueueResponse())) == []
        response = PollWorkflowTaskQueueResponse(task_token=b"t")
        [task] = find(response)
        task.remove()
        assert response == PollWorkflowTaskQueueResponse()

    def test_payloads_outside_tasks(self) -> None:
        response = StartWorkflowExecutionResponse()
        response.eager_workflow_task.task_token = b"t"
        response.eager_workflow_task.history.events.add().workflow_execution_started_event_attributes.input.payloads.add()
        walk = Walkers().of(response.DESCRIPTOR)
        found = walk(response) if walk is not None else Places()
        assert len(found.payloads) == 1
        assert outside_tasks(found) == []

    def test_what_the_service_is_told(self) -> None:
        error = MissingKey("k", ring="the ring")

        def told(task: Any) -> Any:
            name, request = failed(task, error, namespace="n", identity="me")
            assert type(request).__name__ == f"{name}Request"
            return request

        workflow = told(PollWorkflowTaskQueueResponse(task_token=b"t"))
        assert isinstance(workflow, RespondWorkflowTaskFailedRequest)
        assert (workflow.task_token, workflow.namespace, workflow.identity) == (b"t", "n", "me")
        assert workflow.failure.application_failure_info.type == "MissingKey"
        assert not workflow.failure.application_failure_info.non_retryable
        asked = PollWorkflowTaskQueueResponse(task_token=b"t")
        asked.query.query_type = "q"
        assert isinstance(told(asked), RespondQueryTaskCompletedRequest)
        assert isinstance(
            told(PollActivityTaskQueueResponse(task_token=b"t")), RespondActivityTaskFailedRequest
        )
        nexus = told(PollNexusTaskQueueResponse(task_token=b"t"))
        assert isinstance(nexus, RespondNexusTaskFailedRequest)
        assert nexus.error.error_type == "INTERNAL"

    def test_what_comes_again_at_once_is_held_longer_each_time(self) -> None:
        pauses = [pause_s(PollWorkflowTaskQueueResponse(attempt=attempt)) for attempt in (1, 2, 3, 100)]
        assert pauses == [0.0, 0.2, 0.4, PAUSE_S_MAX]
        assert pause_s(PollActivityTaskQueueResponse(attempt=9)) == 0.0

    def test_an_answer_that_can_not_be_encoded(self) -> None:
        error = MissingKey("k", ring="the ring")
        answer = RespondWorkflowTaskCompletedRequest(task_token=b"t", namespace="n")
        told = failed_instead("RespondWorkflowTaskCompleted", answer, error)
        assert told is not None
        assert told[0] == "RespondWorkflowTaskFailed"
        assert failed_instead("StartWorkflowExecution", StartWorkflowExecutionRequest(), error) is None
