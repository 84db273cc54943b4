"""Why the core refuses, told by whose fault it is.

CoreRefusal                 nothing was changed
├── NoSuchTask              the task is gone: completed, timed out, or of another attempt
├── RunClosed               the run is not open any more
├── OtherNamespace          a command reaches into another namespace
├── Invalid                 the request can never be right
├── NotNow                  the request is right, but not in the state that the run is in
└── BadCommand              a worker's command is wrong: its workflow task fails with `cause`
LimitExceeded               a limit of the execution is reached
CoreDefect                  a broken invariant of ours: the run's state in memory must be dropped
"""

from __future__ import annotations


class CoreRefusal(Exception):
    """The transition was refused before it changed anything."""


class NoSuchTask(CoreRefusal):
    """The named task is not there (any more)."""


class RunClosed(CoreRefusal):
    """The run is closed."""


class Invalid(CoreRefusal):
    """The request is wrong in itself."""


class NotNow(CoreRefusal):
    """The state that the run is in does not allow it."""


class OtherNamespace(CoreRefusal):
    """A command names a namespace that is not the run's own; no cell lets workflows reach across."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"Namespace {namespace} is not found.")
        self.namespace = namespace


class LimitExceeded(CoreRefusal):
    """A limit of the execution is reached."""


class BadCommand(CoreRefusal):
    """A command in a workflow task's completion is wrong.

    `cause` is a WorkflowTaskFailedCause. With `terminates` no later attempt can mend it (size limits): the run ends too.
    """

    def __init__(self, cause: int, message: str, *, terminates: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.terminates = terminates


class CoreDefect(Exception):
    """An invariant does not hold."""
