"""What a release wrote that does not know the index of search attributes is found by it after the next start."""

from __future__ import annotations

from sqlalchemy import delete
from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest

from cloud.engine.store import schema
from cloud.engine.store.database import Database
from cloud.engine.store.search_attribute_values import encode
from tests.engine.api.calling import NAMESPACE, Api, start, started

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD


async def count(api: Api) -> int:
    request = CountWorkflowExecutionsRequest(namespace=NAMESPACE, query="Kind = 'x'")
    return int((await api("CountWorkflowExecutions", request)).count)


async def test_the_index_is_filled_once(database: Database) -> None:
    async with started(database) as api:
        await api(
            "AddSearchAttributes",
            AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes={"Kind": KEYWORD}),
        )
        fields = {"Kind": encode("x", KEYWORD)}
        for number in range(3):
            await start(api, f"w{number}", search_attributes=SearchAttributes(indexed_fields=fields))
        assert await count(api) == 3
    facts, values = schema.cell_facts, schema.metadata.tables["visibility_values"]

    def forget(connection):  # type: ignore[no-untyped-def]
        connection.execute(delete(values))

    def forget_fact(connection):  # type: ignore[no-untyped-def]
        connection.execute(delete(facts).where(facts.c.name == "visibility_values_filled"))

    await database.write(forget)
    async with started(database) as api:
        assert await count(api) == 0
    await database.write(forget_fact)
    async with started(database) as api:
        assert await count(api) == 3
