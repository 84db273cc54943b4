"""Whose payload it is: the workflow, activity or Nexus operation that a payload is bound to, where that is asked for.

Text form, as it stands in a payload's metadata and is authenticated::

    workflow:<workflow id>           all of a workflow and its activities, whichever run
    activity:<activity id>           an activity that no workflow started
    nexus:<service>/<operation>      input and immediate result of a Nexus operation, whichever the endpoint

Schedules start workflows under their configured id and the time ("-2026-11-26T07:00:00Z"), and hand each run the
result of the one before it. So an id counts without such an ending, for writers and readers alike: workflows whose ids
differ in it alone are one. `moves.py` has every way on which payloads travel, and what this rule means there.
"""

from __future__ import annotations

import dataclasses
import enum
import re

from temporalio.converter import (
    ActivitySerializationContext,
    NexusSerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

from codec.errors import InvalidPayload, MovedPayload
from codec.keys.provider import ANYONE, Scope

OWNER_MAX_BYTES = 4096
"""Ids have at most 1,000 characters on a service as it comes."""

_STARTED_AT = re.compile(r"-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z")


class Kind(enum.StrEnum):
    """What an owner is."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"
    NEXUS = "nexus"


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who a payload belongs to. Two are equal exactly if payloads may pass from one to the other."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name[:200]!r}"

    def to_bytes(self) -> bytes:
        """As a payload's metadata has it."""
        return f"{self.kind}:{self.name}".encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Owner:
        """Read what `to_bytes` wrote.

        Raises:
            InvalidPayload: it is something else, or too long.
        """
        # What is too long is cut below any kind's name.
        kind, _, name = (text if len(text) <= OWNER_MAX_BYTES else b"").partition(b":")
        try:
            return cls(Kind(kind.decode()), name.decode())
        except ValueError:
            raise InvalidPayload(
                "The payload says that it is bound to a workflow or the like, and not to which: it was altered, "
                "or written by a newer Tacit."
            ) from None

    def check(self, reader: Owner | None, parent: Owner | None = None) -> None:
        """Let a payload of this owner be read by `reader` (None: one who does not know where it stands).

        `parent` is the workflow that started the reader's, where what a parent writes may stand.

        Raises:
            MovedPayload: Temporal never brings this owner's payloads there.
        """
        if reader is None or self in (reader, parent):
            return
        if reader.kind is Kind.NEXUS and self.kind is Kind.WORKFLOW:
            # The result of an operation that a workflow carries out; the caller never learns of which.
            return
        raise MovedPayload(str(self), str(reader))


@dataclasses.dataclass(frozen=True)
class DescribedWorkflowContext(WorkflowSerializationContext):
    """A workflow as a client describes it: its summary and details are bound to the parent that wrote them.

    The service says who the parent is, so a hostile one may show another workflow's texts there. They are for people's
    eyes; no workflow or activity is ever given payloads in this context.
    """

    parent_workflow_id: str | None = None


def workflow_owner(workflow_id: str) -> Owner:
    """The owner of a workflow's payloads, whichever run and whatever its schedule added to the id."""
    return Owner(Kind.WORKFLOW, _STARTED_AT.sub("", workflow_id))


def owner_of(context: SerializationContext) -> Owner | None:
    """Who the SDK says that payloads belong to; None where it does not say."""
    match context:
        case WorkflowSerializationContext(workflow_id=str(name)) if name:
            return workflow_owner(name)
        case ActivitySerializationContext(workflow_id=str(name)) if name:
            return workflow_owner(name)
        case ActivitySerializationContext(activity_id=str(name)) if name:
            return Owner(Kind.ACTIVITY, name)
        case NexusSerializationContext(service=service, operation=operation):
            return Owner(Kind.NEXUS, f"{service}/{operation}")
    return None


def parent_of(context: SerializationContext) -> Owner | None:
    """Whose payloads may stand beside the owner's own."""
    if isinstance(context, DescribedWorkflowContext) and context.parent_workflow_id:
        return workflow_owner(context.parent_workflow_id)
    return None


def scope_of(context: SerializationContext) -> Scope:
    """The part of it that holders of keys are told."""
    match context:
        case WorkflowSerializationContext() | ActivitySerializationContext():
            return Scope(namespace=context.namespace or None, workflow_id=context.workflow_id or None)
    return ANYONE
