"""An execution in memory that is no workflow, who waits for it, and its row: what all kinds of them share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from google.protobuf.message import Message

from cloud.engine.core.clock import LATEST
from cloud.engine.core.state import RUNNING
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.store.rows import StandaloneKind, StandaloneRow, encode
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_attributes import AttributeTypes

if TYPE_CHECKING:
    from cloud.engine.runtime.commits import Batch


WAKE_AT_ONCE = 1
"""A wake time in the past: a call is out, and recovery is to make it again."""


class StandaloneExecution(Protocol):
    """What the core has of one: its run's id, the request that it was started with, and its state."""

    run_id: str

    @property
    def request(self) -> Message:
        """Never changes."""

    @property
    def state(self) -> Any:
        """Stored whole; has `close_time` (ns) and `transitions`."""

    @property
    def closed(self) -> bool:
        """Whether it is over."""

    @property
    def status(self) -> int:
        """Its status as the API has it."""


E = TypeVar("E", bound=StandaloneExecution)


@dataclass(slots=True, eq=False)
class HotStandalone(ABC, Generic[E]):
    """See the module's head. `number` orders those of one id."""

    KIND: ClassVar[StandaloneKind]
    LISTED_AS: ClassVar[str]
    """Before a namespace's id in the rows by which lists find them, so that no list of runs has them."""

    execution: E
    namespace: Namespace
    number: int
    request_size: int
    size: int = 0  # bytes, as they were counted last
    unflushed: Batch | None = None
    watchers: set[asyncio.Future[bool]] = field(default_factory=set)
    calls: set[asyncio.Task[None]] = field(default_factory=set)  # whose answers are awaited
    dropped: bool = False

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.execution.run_id

    @property
    @abstractmethod
    def id(self) -> str:
        """The id that the client gave it."""

    @property
    @abstractmethod
    def type_name(self) -> str:
        """What it runs, as usage is told apart by."""

    @property
    def types(self) -> AttributeTypes:
        """The types of the namespace's own search attributes."""
        return cast("AttributeTypes", self.namespace.search_attributes)

    @abstractmethod
    def measure(self) -> int:
        """What it takes now (bytes), about."""

    @abstractmethod
    def due_at(self) -> int:
        """When an open one is to be woken (ns), 0 for never."""

    @property
    def deleted_at(self) -> int:
        """When one that is over is to be deleted (ns)."""
        return min(int(self.execution.state.close_time) + self.namespace.retention, LATEST)

    def closed_due_at(self) -> int:
        """When one that is over is to be woken (ns)."""
        return self.deleted_at

    @property
    def busy(self) -> bool:
        """Whether it must stay in memory."""
        return bool(self.unflushed or self.watchers or self.calls)

    def wake_watchers(self) -> None:
        """Something of it became durable, or it left memory: who waits looks again."""
        for watcher in self.watchers:
            if not watcher.done():
                watcher.set_result(True)
        self.watchers.clear()

    def drop(self) -> None:
        """It left memory: whoever holds it asks for it again."""
        self.dropped = True
        self.wake_watchers()

    def row(self) -> StandaloneRow:
        """What is stored of it."""
        execution = self.execution
        closed, state = execution.closed, execution.state
        wake_at = self.closed_due_at() if closed else self.due_at()
        return StandaloneRow(
            execution.run_id,
            self.namespace.namespace_id,
            self.id,
            self.number,
            execution.status if closed else RUNNING,
            min(wake_at, LATEST),
            encode(state),
        )

    @abstractmethod
    def visibility_row(self) -> VisibilityRow:
        """What lists show of it."""
