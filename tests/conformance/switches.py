"""What both servers are started with when they are compared."""

from __future__ import annotations

from tests.scenarios.conftest import DYNAMIC_CONFIG

SWITCHED_ON = (
    "frontend.WorkflowPauseEnabled",
    "frontend.workflowRulesAPIsEnabled",
    "nexusoperation.enableStandalone",
    "frontend.WorkerCommandsEnabled",
    "frontend.WorkflowTimeSkippingEnabled",
)
"""What is off on the real server by default; ours is compared with it switched on."""


def for_bad_requests() -> list[str]:
    """Arguments for either server that is sent bad requests."""
    return _arguments(dict.fromkeys(SWITCHED_ON, "true"))


def for_scenarios() -> list[str]:
    """Arguments for either server that the scenarios run against."""
    return _arguments({**dict.fromkeys(SWITCHED_ON, "true"), **DYNAMIC_CONFIG})


def _arguments(values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("--dynamic-config-value", f"{name}={value}")]
