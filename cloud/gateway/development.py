"""The directory of `tacit dev`: every namespace is allowed, the guard is off, nothing is counted.

Whether a namespace exists is the cell's to say, in the words of the real server.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from tenancy.access import GuardMode, NamespaceAccess, NotAllowed, NotAuthenticated, Permission, Principal

DEVELOPMENT_ACCOUNT = "development"


class DevelopmentDirectory:
    """Places every namespace on one cell. It knows no credentials, so it is of no use on other listeners."""

    version = 0

    def __init__(self, cell: str) -> None:
        self._cell = cell
        self._known: dict[str, NamespaceAccess] = {}

    def namespace(self, name: str) -> NamespaceAccess:
        """`name`, whatever it is."""
        access = self._known.get(name)
        if access is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            access = self._known[name] = NamespaceAccess(
                name=name,
                account_id=DEVELOPMENT_ACCOUNT,
                cell=self._cell,
                guard=GuardMode.OFF,
                requests_per_second_max=math.inf,
            )
        return access

    def authenticate_certificate(
        self, leaf_pem: bytes, intermediates_pem: Sequence[bytes], namespace: str, now: datetime
    ) -> Principal:
        """Raises NotAllowed: there are no certificates in development."""
        raise NotAllowed("there are no certificates in development")

    def authenticate_api_key(self, token: str, now: datetime) -> Principal:
        """Raises NotAuthenticated: there are no API keys in development."""
        raise NotAuthenticated("there are no API keys in development")

    def permission(self, principal: Principal, namespace: str) -> Permission:
        """NONE: nobody was authenticated here."""
        return Permission.NONE


_KNOWN_MAX = 10_000
"""Names kept made up; beyond it they are made up again."""
