"""Which namespace goes where: by the name that workers use, to a service, under the name that it has there, through a chain."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from temporalio.converter import SerializationContext

from cloud.sidecar.upstream import Upstream
from codec.blind_index.messages import IndexedMessages
from codec.proxy.messages import Whose
from codec.proxy.owners import Owners
from codec.proxy.payloads import PayloadChain


@dataclass(frozen=True, kw_only=True)
class Route:
    """One profile's namespace. `local` is its name here, `remote` on the service. `indexed` blinds search attributes, if the
    profile names any."""

    profile: str
    local: str
    remote: str
    chain: PayloadChain
    upstream: Upstream
    owners: Owners
    indexed: IndexedMessages | None = None

    def whose(self, whole: SerializationContext | None, *, reading: bool = False) -> Whose | None:
        """What the codecs are told of whose each payload is, in a message that is about `whole`; None if they don't ask."""
        if not self.chain.asks:
            return None
        return functools.partial(self.owners.of_place, whole=whole, reading=reading)


class Routes:
    """All routes. What is about no namespace goes to the first one's service."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.local: route for route in routes}
        self.first = next(iter(self._routes.values()))
        self.to_remote: Mapping[str, str] = {
            route.local: route.remote for route in self._routes.values() if route.local != route.remote
        }
        """New names by old, on the way to the service. Empty where none differ."""
        self.to_local: Mapping[str, str] = {remote: local for local, remote in self.to_remote.items()}

    def get(self, namespace: str) -> Route | None:
        """The route of a namespace by its name here."""
        return self._routes.get(namespace)

    @property
    def all(self) -> tuple[Route, ...]:
        """Every route, in the order of the profiles."""
        return tuple(self._routes.values())
