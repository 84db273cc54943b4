from temporalio.api.common.v1 import Memo, Payload, SearchAttributes

from . import commands as c
from .raw import Scenario


def _typed(kind: str, value: object) -> Payload:
    made = c.payload(value)
    made.metadata["type"] = kind.encode()
    return made


EVERY_TYPE = {
    "ScenarioKeyword": _typed("Keyword", "k"),
    "ScenarioText": _typed("Text", "some words"),
    "ScenarioInt": _typed("Int", 7),
    "ScenarioDouble": _typed("Double", 1.5),
    "ScenarioBool": _typed("Bool", True),
    "ScenarioTime": _typed("Datetime", "2026-01-02T03:04:05Z"),
    "ScenarioWords": _typed("KeywordList", ["a", "b"]),
}


async def test_start_with_every_type(s: Scenario) -> None:
    await s.start(search_attributes=SearchAttributes(indexed_fields=EVERY_TYPE))
    s.expect_message(
        (await s.describe()).workflow_execution_info.search_attributes,
        """
            indexed_fields={ScenarioBool: True{type: Bool}, ScenarioDouble: 1.5{type: Double}, ScenarioInt:
                  7{type: Int}, ScenarioKeyword: 'k'{type: Keyword}, ScenarioText: 'some words'{type: Text},
                  ScenarioTime: '2026-01-02T03:04:05Z'{type: Datetime}, ScenarioWords: ['a', 'b']{type:
                  KeywordList}}
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted search_attributes.indexed_fields={ScenarioBool: True{type: Bool},
              ScenarioDouble: 1.5{type: Double}, ScenarioInt: 7{type: Int}, ScenarioKeyword: 'k'{type:
              Keyword}, ScenarioText: 'some words'{type: Text}, ScenarioTime: '2026-01-02T03:04:05Z'{type:
              Datetime}, ScenarioWords: ['a', 'b']{type: KeywordList}}
        2 WorkflowTaskScheduled
    """)


async def test_type_metadata_is_added(s: Scenario) -> None:
    await s.start(search_attributes=SearchAttributes(indexed_fields={"ScenarioInt": c.payload(7)}))
    described = (await s.describe()).workflow_execution_info.search_attributes.indexed_fields["ScenarioInt"]
    assert dict(described.metadata) == {"encoding": b"json/plain", "type": b"Int"}


async def test_start_refusals(s: Scenario) -> None:
    for attributes, text in (
        (
            {"Nonsense": c.keyword("x")},
            "INVALID_ARGUMENT: Namespace default has no mapping defined for search attribute Nonsense",
        ),
        (
            {"ScenarioInt": c.payload("x")},
            "INVALID_ARGUMENT: invalid value for search attribute ScenarioInt of type Int: x",
        ),
        (
            {"WorkflowType": c.keyword("x")},
            "INVALID_ARGUMENT: WorkflowType attribute can't be set in SearchAttributes",
        ),
        (
            {"ScenarioBool": c.payload(1)},
            "INVALID_ARGUMENT: invalid value for search attribute ScenarioBool of type Bool: 1",
        ),
        (
            {"ScenarioTime": c.payload("noon")},
            "INVALID_ARGUMENT: invalid value for search attribute ScenarioTime of type Datetime: noon",
        ),
    ):
        await s.expect_refusal(s.start(search_attributes=SearchAttributes(indexed_fields=attributes)), text)


async def test_upsert(s: Scenario) -> None:
    await s.start(search_attributes=SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("old")}))
    await s.step(
        c.upsert_search_attributes({"ScenarioKeyword": c.keyword("new"), "ScenarioInt": c.payload(1)}),
        force_create_new_workflow_task=True,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info.search_attributes,
        """
            indexed_fields={BuildIds: ['unversioned']{type: KeywordList}, ScenarioInt: 1{type: Int},
                  ScenarioKeyword: 'new'{type: Keyword}}
        """,
    )
    await s.step(
        c.upsert_search_attributes({"ScenarioKeyword": Payload(metadata={"encoding": b"binary/null"})})
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info.search_attributes,
        """
            indexed_fields={BuildIds: ['unversioned']{type: KeywordList}, ScenarioInt: 1{type: Int}}
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted search_attributes.indexed_fields={ScenarioKeyword: 'old'{type: Keyword}}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 UpsertWorkflowSearchAttributes workflow_task_completed_event_id=4
              search_attributes.indexed_fields={ScenarioInt: 1{type: Int}, ScenarioKeyword: 'new'{type:
              Keyword}}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 UpsertWorkflowSearchAttributes workflow_task_completed_event_id=8
              search_attributes.indexed_fields={ScenarioKeyword: None{type: Keyword}}
    """)


async def test_upsert_memo(s: Scenario) -> None:
    await s.start(memo=Memo(fields={"a": c.payload(1), "b": c.payload(2)}))
    await s.step(c.upsert_memo(a="changed", b=None, c="added"))
    s.expect_message(
        (await s.describe()).workflow_execution_info.memo,
        """
            fields={a: 'changed', c: 'added'}
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted memo.fields={a: 1, b: 2}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowPropertiesModified workflow_task_completed_event_id=4 upserted_memo.fields={a: 'changed', b:
              None, c: 'added'}
    """)


async def test_memo_and_attributes_follow_a_retry(s: Scenario) -> None:
    await s.start(
        memo=Memo(fields={"m": c.payload(1)}),
        search_attributes=SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("k")}),
        retry_policy=c.retry(initial=0.1),
    )
    await s.step(c.upsert_memo(n=2), c.upsert_search_attributes({"ScenarioInt": c.payload(3)}), c.fail())
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> status=RUNNING
                  history_length=1 execution_time=<time> memo.fields={m: 1}
                  search_attributes.indexed_fields={ScenarioKeyword: 'k'{type: Keyword}}
                  auto_reset_points.points=[{run_id=run2 first_workflow_task_completed_id=4 create_time=<time>
                  expire_time=<time> resettable=true}] task_queue=tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run1
                  first_run_id=run2
        """,
        hide=["execution_duration"],
    )
