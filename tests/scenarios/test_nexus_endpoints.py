"""Nexus endpoints: making, changing, finding and removing them."""

import asyncio
import uuid

import temporalio.api.nexus.v1 as nexus
import temporalio.api.operatorservice.v1 as operator
import temporalio.api.workflowservice.v1 as ws
from temporalio.service import RPCError

from .commands import payload, seconds
from .nexus import create_endpoint, delete_endpoint, endpoint_name, external_target, worker_target
from .raw import Scenario


async def test_life_of_an_endpoint(s: Scenario) -> None:
    service = s.client.operator_service
    made = await create_endpoint(s, description=payload("what it is for"))
    s.expect_message(
        made,
        """
            version=1 id=run1 spec.name=ep spec.description='what it is for'
                  spec.target.worker.namespace=default spec.target.worker.task_queue=tq created_time=<time>
                  url_prefix=/nexus/endpoints/run1/services
        """,
    )
    renamed = nexus.EndpointSpec(name=endpoint_name(s, "ep2"), target=external_target("http://localhost:1/x"))
    update = operator.UpdateNexusEndpointRequest(id=made.id, version=made.version, spec=renamed)
    changed = (await service.update_nexus_endpoint(update)).endpoint
    s.expect_message(
        changed,
        """
            version=2 id=run1 spec.name=ep2 spec.target.external.url=http://localhost:1/x
                  last_modified_time=<time> url_prefix=/nexus/endpoints/run1/services
        """,
        hide=["created_time"],  # forgotten, there
    )
    assert changed.HasField("last_modified_time")
    found = await service.get_nexus_endpoint(operator.GetNexusEndpointRequest(id=made.id))
    s.expect_message(
        found,
        """
            endpoint.version=2 endpoint.id=run1 endpoint.spec.name=ep2
                  endpoint.spec.target.external.url=http://localhost:1/x endpoint.last_modified_time=<time>
                  endpoint.url_prefix=/nexus/endpoints/run1/services
        """,
        hide=["endpoint.created_time"],
    )
    # Who knows an older version may not change it.
    await s.expect_refusal(
        service.update_nexus_endpoint(update),
        """
        FAILED_PRECONDITION: nexus endpoint version mismatch. received: 1 expected 2
    """,
    )
    await delete_endpoint(s, changed)
    await s.expect_refusal(
        service.get_nexus_endpoint(operator.GetNexusEndpointRequest(id=made.id)),
        """
        NOT_FOUND: Nexus endpoint with ID `run1` not found
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        delete_endpoint(s, changed),
        """
        NOT_FOUND: error deleting nexus endpoint with ID: run1
          NotFoundFailure
    """,
    )
    update.version = changed.version
    await s.expect_refusal(
        service.update_nexus_endpoint(update),
        """
        NOT_FOUND: error updating Nexus endpoint. endpoint ID run1 not found
          NotFoundFailure
    """,
    )


async def test_a_name_belongs_to_one_endpoint(s: Scenario) -> None:
    made = await create_endpoint(s)
    await s.expect_refusal(
        create_endpoint(s),
        """
        ALREADY_EXISTS: error creating Nexus endpoint. Endpoint with name ep already registered
    """,
    )
    await delete_endpoint(s, made)
    again = await create_endpoint(s)
    assert again.id != made.id
    await delete_endpoint(s, again)


async def test_found_by_name_and_page_by_page(s: Scenario) -> None:
    service = s.client.operator_service
    made = [await create_endpoint(s, endpoint_name(s, f"ep{n}")) for n in range(3)]
    by_name = await service.list_nexus_endpoints(
        operator.ListNexusEndpointsRequest(name=made[1].spec.name, page_size=1)
    )
    assert [endpoint.id for endpoint in by_name.endpoints] == [made[1].id]
    unknown = await service.list_nexus_endpoints(operator.ListNexusEndpointsRequest(name="nobody"))
    s.expect_message(
        unknown,
        """
        """,
    )
    seen: list[str] = []
    token = b""
    while True:
        page = await service.list_nexus_endpoints(
            operator.ListNexusEndpointsRequest(page_size=2, next_page_token=token)
        )
        assert len(page.endpoints) <= 2
        seen += [endpoint.id for endpoint in page.endpoints]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(seen)
    assert {endpoint.id for endpoint in made} <= set(seen)
    await s.expect_refusal(
        service.list_nexus_endpoints(operator.ListNexusEndpointsRequest(page_size=-1)),
        """
            INVALID_ARGUMENT: page_size is negative
        """,
    )
    await s.expect_refusal(
        service.list_nexus_endpoints(operator.ListNexusEndpointsRequest(page_size=1001)),
        """
            INVALID_ARGUMENT: page_size exceeds limit of 1000
        """,
    )
    for endpoint in made:
        await delete_endpoint(s, endpoint)


async def test_bad_names(s: Scenario) -> None:
    await s.expect_refusal(
        create_endpoint(s, ""),
        """
        INVALID_ARGUMENT: endpoint name not set
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, "a"),
        r"""
        INVALID_ARGUMENT: endpoint name must match the regex: "^[a-zA-Z][a-zA-Z0-9\\-]*[a-zA-Z0-9]$"
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, "under_score"),
        r"""
        INVALID_ARGUMENT: endpoint name must match the regex: "^[a-zA-Z][a-zA-Z0-9\\-]*[a-zA-Z0-9]$"
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, "a" * 201),
        """
        INVALID_ARGUMENT: endpoint name exceeds length limit of 200
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, "_" * 201),
        r"""
        INVALID_ARGUMENT: endpoint name exceeds length limit of 200, endpoint name must match the regex:
              "^[a-zA-Z][a-zA-Z0-9\\-]*[a-zA-Z0-9]$"
    """,
    )


async def test_bad_targets(s: Scenario) -> None:
    await s.expect_refusal(
        create_endpoint(s, target=nexus.EndpointTarget()),
        """
        INVALID_ARGUMENT: empty target variant
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, "", target=nexus.EndpointTarget()),
        """
        INVALID_ARGUMENT: endpoint name not set, empty target variant
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=worker_target(s, namespace="")),
        """
        INVALID_ARGUMENT: target namespace not set
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=worker_target(s, namespace="nowhere")),
        """
        FAILED_PRECONDITION: could not verify namespace referenced by target exists: Namespace nowhere is not
              found.
    """,
    )
    empty = nexus.EndpointTarget(worker=nexus.EndpointTarget.Worker(namespace=s.namespace))
    await s.expect_refusal(
        create_endpoint(s, target=empty),
        """
        INVALID_ARGUMENT: invalid target task queue: "taskQueue is not set"
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=worker_target(s, "q" * 1001)),
        """
        INVALID_ARGUMENT: invalid target task queue: "taskQueue length exceeds limit"
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=worker_target(s, "/_sys/x")),
        """
        INVALID_ARGUMENT: invalid target task queue: "task queue name cannot start with reserved prefix
              /_sys/"
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=external_target("")),
        """
        INVALID_ARGUMENT: empty target URL
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=external_target("ftp://host/x")),
        """
        INVALID_ARGUMENT: invalid target URL scheme: "ftp", expected http or https
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, target=external_target("http://host/" + "x" * 4100)),
        """
        INVALID_ARGUMENT: target URL length exceeds limit of 4096
    """,
    )
    await s.expect_refusal(
        create_endpoint(s, description=payload("x" * 30_000)),
        """
        INVALID_ARGUMENT: description size exceeds limit of 20000
    """,
    )


async def test_bad_ids(s: Scenario) -> None:
    service = s.client.operator_service
    await s.expect_refusal(
        service.get_nexus_endpoint(operator.GetNexusEndpointRequest()),
        """
        INVALID_ARGUMENT: endpoint ID not set
    """,
    )
    await s.expect_refusal(
        service.get_nexus_endpoint(operator.GetNexusEndpointRequest(id="x")),
        """
        INVALID_ARGUMENT: malformed endpoint ID: "invalid UUID length: 1"
    """,
    )
    await s.expect_refusal(
        service.delete_nexus_endpoint(operator.DeleteNexusEndpointRequest()),
        """
        INVALID_ARGUMENT: endpoint ID not set, endpoint version is non-positive
    """,
    )
    await s.expect_refusal(
        service.delete_nexus_endpoint(operator.DeleteNexusEndpointRequest(id=str(uuid.uuid4()))),
        """
            INVALID_ARGUMENT: endpoint version is non-positive
        """,
    )
    await s.expect_refusal(
        service.delete_nexus_endpoint(operator.DeleteNexusEndpointRequest(id=str(uuid.uuid4()), version=1)),
        """
            NOT_FOUND: error deleting nexus endpoint with ID: run1
              NotFoundFailure
        """,
    )


async def test_namespace_that_is_a_target_stays(s: Scenario) -> None:
    name = f"ns-{uuid.uuid4().hex[:8]}"
    s.names.aliases[name] = "target"
    await s.service.register_namespace(
        ws.RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=seconds(86400))
    )
    while True:
        try:
            endpoint = await create_endpoint(s, target=worker_target(s, namespace=name))
            break
        except RPCError:
            await asyncio.sleep(0.1)  # the real server takes a while to know a new namespace
    delete = operator.DeleteNamespaceRequest(namespace=name)
    await s.expect_refusal(
        s.client.operator_service.delete_namespace(delete),
        """
            FAILED_PRECONDITION: cannot delete a namespace that is a target of a Nexus endpoint ep
        """,
    )
    await delete_endpoint(s, endpoint)
    await s.client.operator_service.delete_namespace(delete)
