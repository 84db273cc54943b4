"""The test suite of the Python SDK (temporalio/sdk-python, ``tests/``): what it needs, and how it is cut into runs."""

from __future__ import annotations

from pathlib import Path

DYNAMIC_CONFIG: dict[str, str] = {
    "limit.historyCount.suggestContinueAsNew": "50",
    "system.refreshNexusEndpointsMinWait": '"0s"',
    **dict.fromkeys(
        (
            "system.forceSearchAttributesCacheRefreshOnRead",
            "system.enableEagerWorkflowStart",
            "system.enableDeploymentVersions",
            "frontend.enableExecuteMultiOperation",
            "frontend.workerVersioningWorkflowAPIs",
            "frontend.workerVersioningDataAPIs",
            "frontend.activityAPIsEnabled",
            "frontend.enableCancelWorkerPollsOnShutdown",
            "component.nexusoperations.recordCancelRequestCompletionEvents",
            "activity.enableStandalone",
            "activity.startDelayEnabled",
            "nexusoperation.enableStandalone",
            "history.enableChasm",
            "history.enableTransitionHistory",
            "history.enableCHASMCallbacks",
            "history.enableCHASMSignalBacklinks",
            "history.enableSignalWithStartFromWorkflow",
            "history.enableUpdateCallbacks",
        ),
        "true",
    ),
}
"""What the suite gives a server that it starts itself (its ``conftest.py``): both servers get the same."""

ALONE = ("tests/worker/test_workflow.py::test_workflow_eviction_deadlock",)
"""Tests that leave busy threads behind in their process: they come last, each in one of its own."""

LARGE = ("tests/contrib", "tests/nexus", "tests/worker/test_workflow.py", "tests/worker")
"""Parts that get a process each, in this order; the rest is one more."""


def parts(checkout: Path) -> list[list[str]]:
    """The suite as arguments of pytest, a list for each process."""
    rest = [
        str(path.relative_to(checkout))
        for path in sorted((checkout / "tests").rglob("test_*.py"))
        if not str(path.relative_to(checkout)).startswith(LARGE)
    ]
    whole = "tests/worker/test_workflow.py"
    large = [[part, *([f"--ignore={whole}"] if part == "tests/worker" else [])] for part in LARGE]
    deselected = [f"--deselect={test}" for test in ALONE]
    return [*([*part, *deselected] for part in (*large, rest)), *([test] for test in ALONE)]


def options(address: str) -> list[str]:
    """How the suite is told of the server."""
    return ["-E", address, "-o", "log_level=ERROR", "--timeout", "60"]
