"""What an operator can switch, by the real server's own names (``--dynamic-config-value NAME=JSON``).

Only what changes the service's behaviour here is listed; other names of the real server are accepted by `parse` and said to have no effect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch by its name, with what holds while nobody sets it."""

    name: str
    default: bool


WORKFLOW_PAUSE = Switch("frontend.WorkflowPauseEnabled", default=True)
WORKFLOW_RULES = Switch("frontend.workflowRulesAPIsEnabled", default=True)
WORKFLOW_TIME_SKIPPING = Switch("frontend.WorkflowTimeSkippingEnabled", default=False)
STANDALONE_ACTIVITIES = Switch("activity.enableStandalone", default=True)
STANDALONE_NEXUS_OPERATIONS = Switch("nexusoperation.enableStandalone", default=True)
WORKER_HEARTBEATS = Switch("frontend.WorkerHeartbeatsEnabled", default=True)
WORKER_COMMANDS = Switch("frontend.WorkerCommandsEnabled", default=False)
VERSIONING_DATA_APIS = Switch("frontend.workerVersioningDataAPIs", default=False)
VERSIONING_RULE_APIS = Switch("frontend.workerVersioningRuleAPIs", default=False)
VERSIONING_WORKFLOW_APIS = Switch("frontend.workerVersioningWorkflowAPIs", default=False)

SWITCHES: Mapping[str, Switch] = {
    switch.name.lower(): switch for switch in globals().copy().values() if isinstance(switch, Switch)
}
"""By name in lower case: the real server does not mind case either."""


class DynamicConfigError(Exception):
    """A value can't be used; the sentence names it, and what is right."""


class DynamicConfig:
    """The switches as they are set. Immutable: a server keeps what it was started with."""

    def __init__(self, values: Mapping[Switch, bool] | None = None) -> None:
        self._values = dict(values or {})

    def on(self, switch: Switch) -> bool:
        """Whether the switch is on."""
        return self._values.get(switch, switch.default)


def parse(texts: Iterable[str]) -> tuple[DynamicConfig, list[str]]:
    """Read ``NAME=JSON`` texts; gives also the names that have no effect here.

    Raises:
        DynamicConfigError: a text is of another form, or a switch's value is neither true nor false.
    """
    values: dict[Switch, bool] = {}
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
        switch = SWITCHES.get(name.lower())
        if switch is None:
            without_effect.append(name)
        elif not isinstance(value, bool):
            raise DynamicConfigError(f"{name} is a switch: true or false, not {value_text}")
        else:
            values[switch] = value
    return DynamicConfig(values), without_effect
