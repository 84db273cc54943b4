"""What an operator can switch, by the real server's own names (``--dynamic-config-value NAME=JSON``).

Only what changes the service's behaviour here is listed; other names of the real server are accepted by `parse` and said to have no effect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cloud.engine.core.limits import Limits


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch by its name, with what holds while nobody sets it."""

    name: str
    default: bool


WORKFLOW_PAUSE = Switch("frontend.WorkflowPauseEnabled", default=True)
WORKFLOW_RULES = Switch("frontend.workflowRulesAPIsEnabled", default=True)
WORKFLOW_TIME_SKIPPING = Switch("frontend.WorkflowTimeSkippingEnabled", default=False)
STANDALONE_ACTIVITIES = Switch("activity.enableStandalone", default=True)
STANDALONE_ACTIVITY_OPERATOR_COMMANDS = Switch(
    "history.enableStandaloneActivityOperatorCommands", default=True
)
STANDALONE_ACTIVITY_CALLBACKS = Switch("activity.enableCallbacks", default=True)
STANDALONE_ACTIVITY_BATCHES = Switch("frontend.enableBatchOperationsForStandaloneActivities", default=True)
STANDALONE_NEXUS_OPERATIONS = Switch("nexusoperation.enableStandalone", default=True)
WORKER_HEARTBEATS = Switch("frontend.WorkerHeartbeatsEnabled", default=True)
CANCEL_POLLS_ON_SHUTDOWN = Switch("frontend.enableCancelWorkerPollsOnShutdown", default=False)
WORKER_COMMANDS = Switch("frontend.WorkerCommandsEnabled", default=False)
SIGNAL_WITH_START_FROM_WORKFLOW = Switch("history.enableSignalWithStartFromWorkflow", default=True)
VERSIONING_DATA_APIS = Switch("frontend.workerVersioningDataAPIs", default=False)
VERSIONING_RULE_APIS = Switch("frontend.workerVersioningRuleAPIs", default=False)
VERSIONING_WORKFLOW_APIS = Switch("frontend.workerVersioningWorkflowAPIs", default=False)

SWITCHES: Mapping[str, Switch] = {
    switch.name.lower(): switch for switch in globals().copy().values() if isinstance(switch, Switch)
}
"""By name in lower case: the real server does not mind case either."""


@dataclass(frozen=True, slots=True)
class Number:
    """A figure by its name, with what holds while nobody sets it: a count, or a duration in ns (set as "1m30s")."""

    name: str
    default: int
    is_duration: bool = False


_MINUTE = 60_000_000_000

DEPLOYMENTS_MAX = Number("matching.maxDeployments", 100)
VERSIONS_IN_DEPLOYMENT_MAX = Number("matching.maxVersionsInDeployment", 100)
QUEUES_IN_VERSION_MAX = Number("matching.maxTaskQueuesInDeploymentVersion", 100)
VERSIONS_IN_QUEUE_MAX = Number("matching.maxVersionsInTaskQueue", 200)
DRAINAGE_GRACE = Number(
    "matching.wv.VersionDrainageStatusVisibilityGracePeriod", 3 * _MINUTE, is_duration=True
)
DRAINAGE_INTERVAL = Number("matching.wv.VersionDrainageStatusRefreshInterval", 3 * _MINUTE, is_duration=True)

_DEFAULTS = Limits()
_LIMITS: Mapping[Number, str] = {
    Number(name, getattr(_DEFAULTS, field)): field
    for name, field in {
        "limit.blobSize.error": "blob_size_error",
        "limit.blobSize.warn": "blob_size_warn",
        "limit.memoSize.error": "memo_size_error",
        "limit.maxIDLength": "id_length",
        "limit.numPendingActivities.error": "pending_activities",
        "limit.numPendingChildExecutions.error": "pending_children",
        "limit.numPendingSignals.error": "pending_signals",
        "limit.numPendingCancelRequests.error": "pending_cancels",
        "limit.historySize.error": "history_size_error",
        "limit.historySize.warn": "history_size_warn",
        "limit.historySize.suggestContinueAsNew": "history_size_suggest",
        "limit.historyCount.error": "history_count_error",
        "limit.historyCount.warn": "history_count_warn",
        "limit.historyCount.suggestContinueAsNew": "history_count_suggest",
    }.items()
}
"""Limits of executions by their field in `Limits`."""

NUMBERS: Mapping[str, Number] = {
    number.name.lower(): number
    for number in (*globals().copy().values(), *_LIMITS)
    if isinstance(number, Number)
}
"""By name in lower case."""

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": _MINUTE, "h": 60 * _MINUTE}


class DynamicConfigError(Exception):
    """A value can't be used; the sentence names it, and what is right."""


class DynamicConfig:
    """The switches and figures as they are set. Immutable: a server keeps what it was started with."""

    def __init__(
        self, values: Mapping[Switch, bool] | None = None, numbers: Mapping[Number, int] | None = None
    ) -> None:
        self._values = dict(values or {})
        self._numbers = dict(numbers or {})

    def of(self, number: Number) -> int:
        """The figure as it is set."""
        return self._numbers.get(number, number.default)

    def limits(self, base: Limits) -> Limits:
        """`base` with the limits that are set."""
        return replace(base, **{_LIMITS[n]: value for n, value in self._numbers.items() if n in _LIMITS})

    def on(self, switch: Switch) -> bool:
        """Whether the switch is on."""
        return self._values.get(switch, switch.default)


def parse(texts: Iterable[str]) -> tuple[DynamicConfig, list[str]]:
    """Read ``NAME=JSON`` texts; gives also the names that have no effect here.

    Raises:
        DynamicConfigError: a text is of another form, a switch's value is neither true nor false, or a figure's value is none.
    """
    values: dict[Switch, bool] = {}
    numbers: dict[Number, int] = {}
    without_effect: list[str] = []
    for text in texts:
        name, equals, value_text = text.partition("=")
        if not name or not equals:
            raise DynamicConfigError(f"the dynamic config value {text!r} is not NAME=JSON")
        try:
            value = json.loads(value_text)
        except ValueError:
            raise DynamicConfigError(
                f"the value of {name} is no JSON: {value_text!r}; texts need quotes inside the argument"
            ) from None
        number = NUMBERS.get(name.lower())
        if number is not None:
            numbers[number] = _figure(number, value)
            continue
        switch = SWITCHES.get(name.lower())
        if switch is None:
            without_effect.append(name)
        elif not isinstance(value, bool):
            raise DynamicConfigError(f"{name} is a switch: true or false, not {value_text}")
        else:
            values[switch] = value
    return DynamicConfig(values, numbers), without_effect


def _figure(number: Number, value: object) -> int:
    if not number.is_duration:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise DynamicConfigError(f"{number.name} is a count: a whole number, not {json.dumps(value)}")
        return value
    parts = _DURATION_PART.findall(value) if isinstance(value, str) else []
    if not parts or "".join(figure + unit for figure, unit in parts) != value:
        raise DynamicConfigError(f'{number.name} is a duration such as "1m30s", not {json.dumps(value)}')
    return int(sum(float(figure) * _UNITS[unit] for figure, unit in parts))
