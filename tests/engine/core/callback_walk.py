"""What random walks do with completion callbacks of updates: updates that bring some, others attached later, calls and their outcomes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from temporalio.api.common.v1 import Callback, Link
from temporalio.api.update.v1 import Request

from cloud.engine.core import callback, update
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn


def callbacks(count: int) -> list[Callback]:
    """Callbacks, told apart by their URLs."""
    link = Link(workflow_event=Link.WorkflowEvent(workflow_id="by"))
    return [Callback(nexus=Callback.Nexus(url=f"http://host/{n}"), links=[link]) for n in range(count)]


class CallbackWalk:
    """Takes its chances from a source of its own, so that it does not change what else a walk does."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"callbacks {seed}")
        self.names = 0

    def attachment(self) -> update.Attachment:
        """A later request's."""
        self.names += 1
        return update.Attachment(f"attach-{self.names}", callbacks(self.random.choice([1, 2])))

    def give(self, request: Request) -> None:
        """Perhaps the update comes with callbacks."""
        request.request_id = f"request-{request.meta.update_id}"
        request.completion_callbacks.extend(callbacks(self.random.choice([0, 0, 1, 2])))

    def attachments(self, update_ids: Sequence[str]) -> dict[str, list[update.Attachment]]:
        """What later requests want attached to updates that no worker accepted yet."""
        return {
            update_id: [self.attachment() for _ in range(self.random.choice([1, 2]))]
            for update_id in update_ids
            if self.random.random() < 0.3
        }

    def changes(self, live: Execution) -> list[Callable[[Turn], object]]:
        """What happens from outside between two steps."""
        chance = self.random
        found: list[Callable[[Turn], object]] = []
        accepted = [known.update_id for known in live.updates.values() if not known.completed_event_id]
        if accepted and live.running and chance.random() < 0.3:
            update_id, attachment = chance.choice(accepted), self.attachment()
            found.append(lambda turn: update.attach(turn, update_id, attachment))
        waiting = [index for index in range(len(live.callbacks)) if callback.awaits_delivery(live, index)]
        return found + [self._outcome(index) for index in waiting if chance.random() < 0.6]

    def _outcome(self, index: int) -> Callable[[Turn], object]:
        if self.random.random() < 0.4:
            return lambda turn: callback.delivered(turn, index)
        again = self.random.random() < 0.7
        return lambda turn: callback.not_delivered(turn, index, "no", retryable=again)
