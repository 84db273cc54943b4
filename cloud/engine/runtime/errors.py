"""What the runtime answers instead of a result (the core's own refusals pass through as they are).

NoSuchRun             the workflow or run is not there
Unflushed             (commits) the change is not durable and forgotten: try again
"""

from __future__ import annotations


class NoSuchRun(Exception):
    """There is no run of this id."""
