"""Updates on their way: what callers wait for, until a worker has answered and the answer is durable.

An update that no worker accepted yet lives here and nowhere else. If its run leaves memory (a failed flush, a crash, a cache that is too
small) its callers are told `Lost`, and ask anew; so the service keeps nothing of an update that is rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio.api.failure.v1 import Failure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Outcome, Request

from cloud.engine.core import update
from cloud.engine.core.update import Answer, Attachment
from cloud.engine.runtime.waits import give_up

if TYPE_CHECKING:
    from cloud.engine.runtime.hot import HotRun


class Lost(Exception):
    """The run left memory: look for it again, and ask again."""


class Continued(Exception):
    """The workflow went on in another run before the update reached it: its caller is to ask there."""


class Closed(Exception):
    """The workflow ended before the update reached it."""


@dataclass(slots=True, eq=False)
class PendingUpdate:
    """An update that is not completed. What a worker said of it stands in plain fields at once; `accepted` (None, or the rejection)
    and `completed` (the outcome) are told when that is durable."""

    update_id: str
    request: Request
    sent: bool = False
    in_history: bool = False  # an event admits it, and tells its worker of it
    is_accepted: bool = False
    rejection: Failure | None = None
    outcome: Outcome | None = None
    waiting: set[asyncio.Future[bool]] = field(default_factory=set)  # callers that wait for it
    attachments: list[Attachment] = field(
        default_factory=list
    )  # of later requests for it, until it is accepted
    size: int = 0  # bytes
    accepted: asyncio.Future[Failure | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    completed: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def __post_init__(self) -> None:
        self.size = self.request.ByteSize()

    def attach(self, attachment: Attachment) -> None:
        """Another request for it wants callbacks attached, once it is accepted; each request once."""
        request_ids = {self.request.request_id, *(known.request_id for known in self.attachments)}
        if attachment.request_id not in request_ids:
            self.attachments.append(attachment)
            self.size += sum(wanted.ByteSize() for wanted in attachment.callbacks)

    @property
    def callback_count(self) -> int:
        """How many callbacks come with it, once it is accepted."""
        if self.is_accepted:
            return 0
        return len(self.request.completion_callbacks) + sum(
            len(attachment.callbacks) for attachment in self.attachments
        )

    def refuse(self, error: Exception) -> None:
        """No answer will come: whoever waits is told `error`."""
        for future in (self.accepted, self.completed):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whether or not anyone waits

    def accept(self) -> None:
        """A worker accepted it, durably."""
        if not self.accepted.done():
            self.accepted.set_result(None)

    def complete(self, outcome: Outcome) -> None:
        """It has its outcome, durably."""
        self.accept()
        if not self.completed.done():
            self.completed.set_result(outcome)

    def reject(self, failure: Failure) -> None:
        """A worker rejected it."""
        if not self.accepted.done():
            self.accepted.set_result(failure)
        if not self.completed.done():
            self.completed.set_result(update.failed(failure))


class Updates:
    """The updates of one run in memory, by id, in the order of their arrival."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: dict[str, PendingUpdate] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def find(self, update_id: str) -> PendingUpdate | None:
        """The update if it is on its way."""
        return self._pending.get(update_id)

    def add(self, pending: PendingUpdate) -> None:
        """An update is on its way."""
        self._pending[pending.update_id] = pending

    def sent(self) -> Mapping[str, Request]:
        """What the worker has with its workflow task, unanswered."""
        return {
            key: pending.request
            for key, pending in self._pending.items()
            if pending.sent and not (pending.in_history or pending.is_accepted) and pending.rejection is None
        }

    def attachments(self) -> Mapping[str, Sequence[Attachment]]:
        """What later requests want attached to updates, once these are accepted."""
        return {
            key: pending.attachments
            for key, pending in self._pending.items()
            if pending.attachments and not pending.is_accepted
        }

    def callback_count(self) -> int:
        """How many callbacks come with all of them, once they are accepted."""
        return sum(pending.callback_count for pending in self._pending.values())

    @property
    def unsent(self) -> bool:
        """Whether one waits for the next workflow task."""
        return any(not pending.sent for pending in self._pending.values())

    def size(self) -> int:
        """Bytes of all requests."""
        return sum(pending.size for pending in self._pending.values())

    @property
    def needed(self) -> bool:
        """Whether one would be lost with its run, or is waited for. One that was accepted is in the history, too."""
        return any(pending.waiting or not pending.is_accepted for pending in self._pending.values())

    def messages(self, started_event_id: int, *, again: bool) -> list[ProtocolMessage]:
        """The messages that a workflow task brings its worker; with `again` also what an earlier one brought in vain."""
        messages = []
        for pending in self._pending.values():
            if pending.in_history or pending.is_accepted or pending.rejection or (pending.sent and not again):
                continue
            pending.sent = True
            message = ProtocolMessage(
                id=f"{pending.update_id}/request",
                protocol_instance_id=pending.update_id,
                event_id=started_event_id - 1,
            )
            message.body.Pack(pending.request)
            messages.append(message)
        return messages

    def answered(self, answers: Mapping[str, Answer]) -> None:
        """A completion says what became of some; those who wait are told once it is durable (`settle`)."""
        for update_id, answer in answers.items():
            pending = self._pending.get(update_id)
            if pending is not None:
                pending.is_accepted = pending.is_accepted or answer.accepted
                pending.rejection = answer.rejection or pending.rejection
                pending.outcome = answer.outcome or pending.outcome

    def settle(self, hot: HotRun) -> None:
        """All that the run went through is durable: tell those who wait. If it closed, no other answer will come."""
        closed = not hot.execution.running
        for pending in list(self._pending.values()):
            if pending.rejection is not None:
                pending.reject(pending.rejection)
            elif pending.outcome is not None:
                pending.complete(pending.outcome)
            elif closed and pending.is_accepted:
                pending.complete(update.failed(update.closed_failure()))
            elif closed:
                pending.refuse(Continued() if hot.execution.next_run_id else Closed())
            else:
                if pending.is_accepted:
                    pending.accept()
                continue
            del self._pending[pending.update_id]

    def end_waits(self) -> None:
        """The cell leaves: who waits is told how far it is."""
        for pending in self._pending.values():
            for waiting in pending.waiting:
                give_up(waiting)

    def lose(self) -> None:
        """The run leaves memory."""
        for pending in self._pending.values():
            pending.refuse(Lost())
        self._pending.clear()
