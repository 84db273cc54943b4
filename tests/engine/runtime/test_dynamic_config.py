"""Switches, by the real server's names."""

import pytest

from cloud.engine.core.limits import Limits
from cloud.engine.runtime.dynamic_config import (
    VERSIONING_DATA_APIS,
    WORKFLOW_PAUSE,
    DynamicConfig,
    DynamicConfigError,
    parse,
)


def test_defaults() -> None:
    assert DynamicConfig().on(WORKFLOW_PAUSE)
    assert not DynamicConfig().on(VERSIONING_DATA_APIS)


def test_names_mind_no_case_and_unknown_ones_are_told() -> None:
    config, without_effect = parse(
        [
            "Frontend.workflowpauseenabled=false",
            "frontend.workerVersioningDataAPIs=true",
            'history.x="a=b"',
        ]
    )
    assert not config.on(WORKFLOW_PAUSE)
    assert config.on(VERSIONING_DATA_APIS)
    assert without_effect == ["history.x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frontend.WorkflowPauseEnabled", "not NAME=JSON"),
        ("frontend.WorkflowPauseEnabled=yes", "no JSON"),
        ("frontend.WorkflowPauseEnabled=1", "true or false"),
    ],
)
def test_values_of_no_use(text: str, said: str) -> None:
    with pytest.raises(DynamicConfigError, match=said):
        parse([text])


def test_limits_of_executions() -> None:
    config, without_effect = parse(
        ["limit.historycount.suggestContinueAsNew=50", "limit.blobSize.error=1000"]
    )
    assert not without_effect
    limits = config.limits(Limits(history_count_warn=7))
    assert (limits.history_count_suggest, limits.blob_size_error, limits.history_count_warn) == (50, 1000, 7)
    assert DynamicConfig().limits(limits) == limits
