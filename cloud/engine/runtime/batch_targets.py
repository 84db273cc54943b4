"""What batch operations may come to: runs of workflows, and standalone activities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.store.visibility_attributes import AttributeTypes
from cloud.engine.store.visibility_filter import ListFilter, parse_activity_filter, parse_filter


class Targets(Protocol):
    """What a job's operation is for: how it is listed, and found by its ids."""

    def listed_as(self, namespace_id: str) -> str:
        """What stands for a namespace's id in the rows of its lists."""

    def parse(self, query: str, types: AttributeTypes) -> ListFilter:
        """A query as a filter.

        Raises:
            FilterError: it is none.
        """

    async def find(self, namespace: Namespace, id_: str, run_id: str) -> Any:
        """One of them in memory.

        Raises:
            NoSuchRun: it is not there.
        """


@dataclass(slots=True)
class WorkflowTargets:
    """Runs of workflows."""

    runtime: Runtime

    def listed_as(self, namespace_id: str) -> str:
        """See :class:`Targets`."""
        return namespace_id

    def parse(self, query: str, types: AttributeTypes) -> ListFilter:
        """See :class:`Targets`."""
        return parse_filter(query, types)

    async def find(self, namespace: Namespace, id_: str, run_id: str) -> HotRun:
        """See :class:`Targets`."""
        return await self.runtime.find(namespace, id_, run_id)


@dataclass(slots=True)
class ActivityTargets:
    """Standalone activities."""

    activities: StandaloneActivities

    def listed_as(self, namespace_id: str) -> str:
        """See :class:`Targets`."""
        return HotActivity.LISTED_AS + namespace_id

    def parse(self, query: str, types: AttributeTypes) -> ListFilter:
        """See :class:`Targets`."""
        return parse_activity_filter(query, types)

    async def find(self, namespace: Namespace, id_: str, run_id: str) -> HotActivity:
        """See :class:`Targets`."""
        return await self.activities.find(namespace, id_, run_id)
