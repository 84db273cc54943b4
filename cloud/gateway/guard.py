"""The plaintext guard: per namespace, payloads that the client did not encrypt are refused, or counted."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from google.protobuf.message import Message

from cloud.gateway.guard_counts import GuardCounts, Outcome
from cloud.gateway.payload_walk import Finding, PayloadWalkers, Walk
from cloud.rpc import InvalidArgument, Method
from tenancy.access import GuardMode

_log = structlog.get_logger(__name__)

TOLD_MAX = 10_000
"""Fields that the log tells of, each once."""


class PlaintextRefused(InvalidArgument):
    """The guard's refusal. `field` is the path without indices and keys, fit for logs."""

    def __init__(self, sentence: str, field: str) -> None:
        super().__init__(sentence)
        self.field = field


class PlaintextGuard:
    """Checks requests before a cell sees them. Walkers are compiled here, once for all `methods`."""

    def __init__(self, methods: Iterable[Method]) -> None:
        walkers = PayloadWalkers()
        self._walks: dict[type[Message], Walk | None] = {
            method.request_type: walkers.walk(method.request_type.DESCRIPTOR) for method in methods
        }
        self.counts = GuardCounts()
        self._told: set[tuple[str, str]] = set()

    def check(self, method: Method, request: Message, namespace: str, mode: GuardMode) -> None:
        """Look at all that `request` carries; mode ENFORCE takes out what nobody here can tell the meaning of.

        Fields newer than our protos may hold payloads. The cell does not know them either, but it keeps messages
        whole, so they would be stored. Refusing them instead would shut out every newer SDK.

        Raises:
            PlaintextRefused: mode ENFORCE, and something is readable; names the first such field and the way
            out.
        """
        if mode is GuardMode.OFF:
            return
        if mode is GuardMode.ENFORCE:
            request.DiscardUnknownFields()
        walk = self._walks[method.request_type]
        if walk is None:
            return
        found = walk(request)
        if not found:
            return
        fields = {f"{method.name}: {finding.field}" for finding in found}
        if mode is GuardMode.ENFORCE:
            self.counts.add(namespace, fields, Outcome.REFUSED)
            raise PlaintextRefused(_sentence(method, namespace, found[0]), found[0].field)
        self.counts.add(namespace, fields, Outcome.OBSERVED)
        for field in fields:
            key = (namespace, field)
            if key not in self._told and len(self._told) < TOLD_MAX:
                self._told.add(key)
                _log.warning("gateway.plaintext_observed", namespace=namespace, field=field)


def _sentence(method: Method, namespace: str, finding: Finding) -> str:
    name = namespace.partition(".")[0]
    return (
        f"{method.name}: {finding.path} {finding.problem}, and namespace {namespace} takes encrypted payloads only. "
        "Connect with sdk.connect() or the plugin sdk.TacitPlugin (Python), or through `tacit codec proxy` (any language); "
        f"else {_fix(finding.field)}. An admin sees what else is readable with `tacit namespace guard {name}`, and can "
        f"let it pass with `tacit namespace update {name} --guard observe`."
    )


def _fix(field: str) -> str:
    """What to set in a client of one's own, by the kind of field."""
    if field.endswith((".message", ".stack_trace", "error_message")) or field in ("message", "stack_trace"):
        return "let the client's failure converter encode common attributes (encode_common_attributes=True)"
    if field.endswith(".details") and "failure" in field:
        return (
            "let the client's failure converter encode common attributes (encode_common_attributes=True), and give it a "
            "payload codec that encrypts"
        )
    if "header.fields" in field:
        return "let the client encode headers (HeaderCodecBehavior.CODEC)"
    if field.endswith(".type_url"):
        return "use a client that this service knows all messages of"
    return "give the client a payload codec that encrypts"
