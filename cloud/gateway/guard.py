"""The plaintext guard: per namespace, payloads that the client did not encrypt are refused, or counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import structlog
from google.protobuf.message import Message

from cloud.gateway.payload_walk import Finding, PayloadWalkers, Walk
from cloud.rpc import InvalidArgument, Method
from tenancy.access import GuardMode

_log = structlog.get_logger(__name__)


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
        self._observed: Counter[tuple[str, str]] = Counter()

    def check(self, method: Method, request: Message, namespace: str, mode: GuardMode) -> None:
        """Look at all that `request` carries.

        Raises:
            PlaintextRefused: mode ENFORCE, and something is readable; names the first such field and the way
            out.
        """
        if mode is GuardMode.OFF:
            return
        walk = self._walks[method.request_type]
        if walk is None:
            return
        found = walk(request)
        if not found:
            return
        if mode is GuardMode.ENFORCE:
            raise PlaintextRefused(_sentence(method, namespace, found[0]), found[0].field)
        for field in {f"{method.name}: {finding.field}" for finding in found}:
            key = (namespace, field)
            self._observed[key] += 1
            if self._observed[key] == 1:
                _log.warning("gateway.plaintext_observed", namespace=namespace, field=field)

    def observed(self) -> Mapping[tuple[str, str], int]:
        """Calls with a readable field, by namespace and field, since the start; mode OBSERVE only."""
        return dict(self._observed)


def _sentence(method: Method, namespace: str, finding: Finding) -> str:
    field = finding.field
    if field.endswith((".message", ".stack_trace", "error_message")):
        fix = "let the client's failure converter encode common attributes (encode_common_attributes=True)"
    elif "header.fields" in field:
        fix = "let the client encode headers (HeaderCodecBehavior.CODEC)"
    else:
        fix = "give the client a payload codec that encrypts"
    return (
        f"{method.name}: {finding.path} {finding.problem}, and namespace {namespace} takes encrypted "
        f"payloads only. Connect with sdk.connect(), or {fix}; an admin can set the namespace's guard "
        "to observe or off."
    )
