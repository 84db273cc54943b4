"""Who may decode and encode in which namespace: plain rules, and nothing is allowed that no rule allows."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from codec.server.protocol import Operation, Refusal

ANY_NAMESPACE = "*"
SERVICE_ISSUER = "service"
"""What rules call the service as the issuer of its API keys."""


class Right(enum.StrEnum):
    """What a rule gives."""

    DECODE = "decode"
    ENCODE = "encode"


RIGHT_FOR = {
    Operation.DECODE: Right.DECODE,
    Operation.DOWNLOAD: Right.DECODE,
    Operation.ENCODE: Right.ENCODE,
}


class CallerKind(enum.StrEnum):
    """How a caller proved who it is."""

    NOBODY = "nobody"
    TOKEN = "token"  # noqa: S105 - the name of a kind
    JWT = "jwt"
    API_KEY = "api-key"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, as proved. No field is secret.

    `email` is there only if the issuer vouches for it. `within` are the rights per namespace that the issuer of the
    credential leaves (an API key's, in the service); None: it says nothing of rights.
    """

    kind: CallerKind
    subject: str
    issuer: str | None = None
    email: str | None = None
    groups: frozenset[str] = frozenset()
    within: frozenset[tuple[Right, str]] | None = None

    @property
    def key(self) -> str:
        """One caller's name among all, for counting."""
        return f"{self.kind}\0{self.issuer or ''}\0{self.subject}"

    def shown(self) -> dict[str, str]:
        """The caller in an audit line."""
        fields = {
            "kind": self.kind.value,
            "subject": self.subject,
            "issuer": self.issuer,
            "email": self.email,
        }
        return {name: value for name, value in fields.items() if value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: any of the named callers has `rights` in `namespaces`. `issuer` narrows it to that issuer's."""

    namespaces: frozenset[str]
    rights: frozenset[Right]
    issuer: str | None = None
    emails: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()
    everyone: bool = False

    def gives(self, caller: Caller, right: Right, namespace: str) -> bool:
        """Whether this rule is about all three."""
        return (
            right in self.rights
            and (namespace in self.namespaces or ANY_NAMESPACE in self.namespaces)
            and self._names(caller)
        )

    def _names(self, caller: Caller) -> bool:
        if caller.kind is CallerKind.TOKEN:
            # What a token is called is this server's own word, so no issuer's subject can pass for it.
            return caller.subject in self.tokens
        if caller.kind is CallerKind.NOBODY:
            return False
        if self.issuer is not None and caller.issuer != self.issuer:
            return False
        email = (caller.email or "").casefold()
        return (
            self.everyone
            or caller.subject in self.subjects
            or bool(caller.groups & self.groups)
            or (bool(email) and (email in self.emails or email.rpartition("@")[2] in self.domains))
        )


class Access:
    """All rules, over the namespaces that are served."""

    def __init__(self, rules: Sequence[Rule], *, open_to_all: bool = False) -> None:
        """`open_to_all` gives every right to whoever reaches the server; for a server on loopback only."""
        self._rules = tuple(rules)
        self.open_to_all = open_to_all

    def allows(self, caller: Caller, operation: Operation, namespace: str) -> bool:
        """Whether the caller may, if there is such a namespace."""
        if self.open_to_all and caller.kind is CallerKind.NOBODY:
            return True
        right = RIGHT_FOR[operation]
        within = caller.within is None or (right, namespace) in caller.within
        return within and any(rule.gives(caller, right, namespace) for rule in self._rules)

    def check(self, caller: Caller, operation: Operation, namespace: str) -> None:
        """Return if the caller may.

        Raises:
            Refusal: it may not, or there is no such namespace: one sentence for both.
        """
        if self.allows(caller, operation, namespace):
            return
        raise Refusal(
            403,
            f"You may not {RIGHT_FOR[operation]} payloads of this namespace here; whoever runs the codec server says who may.",
            "forbidden",
        )
