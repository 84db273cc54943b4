"""Which web pages may ask: cross-origin rules of browsers (the Fetch standard), by a list of origins.

A browser sends `Origin` with every request of another site's page. A page that is not on the list is refused, not only
left without the headers: a request that a browser sends without asking first would have been answered by then.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from codec.server.protocol import Answer, Refusal, Request

ANY_ORIGIN = "*"
DEFAULT_ORIGINS = tuple(
    f"{scheme}://{host}:8233" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1")
)
"""Where the web UI and the console are on the machine of who uses them."""

PREFLIGHT_S_MAX = 600
"""How long a browser may remember what it was told."""

_METHODS = "POST, GET, OPTIONS"
_HEADERS = "X-Namespace, Content-Type, Authorization, Authorization-Extras, X-Preserve-Storage-Refs"
_ORIGIN = re.compile(r"https?://[a-z0-9.\-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")


class OriginError(ValueError):
    """An origin in the settings that is none, or is not safe together with another setting."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cors:
    """The rules: origins that may ask, and whether their browsers may send cookies along (`credentials`)."""

    origins: frozenset[str]
    credentials: bool = False

    @classmethod
    def of(cls, origins: Sequence[str], *, credentials: bool = False) -> Cors:
        """The rules for these origins, checked.

        Raises:
            OriginError: one is no origin, or any page is to be let in together with its visitor's cookies.
        """
        wanted = [origin.rstrip("/").lower() for origin in origins]
        for origin in wanted:
            if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
                raise OriginError(
                    f"{origin[:80]!r} is no origin; write it as the browser does: https://HOST, or https://HOST:PORT."
                )
        if ANY_ORIGIN in wanted and credentials:
            raise OriginError(
                "Every origin (*) together with credentials would let any page ask in its visitor's name; name the "
                "origins."
            )
        return cls(origins=frozenset(wanted), credentials=credentials)

    def headers(self, request: Request) -> dict[str, str]:
        """What every answer to this request carries for its browser.

        Raises:
            Refusal: it comes from a page that is not on the list.
        """
        origin = request.headers.get("origin")
        if origin is None:
            return {}
        if ANY_ORIGIN in self.origins:
            return {"access-control-allow-origin": ANY_ORIGIN}
        if origin.lower() not in self.origins:
            raise Refusal(
                403,
                "Pages of this origin may not ask here; name it among the codec server's origins (--origin) if they may.",
                "origin",
                headers={"vary": "Origin"},
            )
        allowed = {"access-control-allow-origin": origin, "vary": "Origin"}
        if self.credentials:
            allowed["access-control-allow-credentials"] = "true"
        return allowed

    def preflight(self, request: Request) -> Answer:
        """The answer to a browser that asks first."""
        headers = {
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": str(PREFLIGHT_S_MAX),
        }
        if request.headers.get("access-control-request-private-network") == "true":
            # A public page asks to reach a private network; it is on the list, so it may.
            headers["access-control-allow-private-network"] = "true"
        return Answer(status=204, headers=headers)
