"""Page sizes and page tokens of the Cloud API: at most 1,000 to a page, 100 if nothing is said.

A token holds the key of the last item seen, nothing secret and nothing trusted: the next page is read within the
caller's own account, whatever the token says.
"""

from __future__ import annotations

import base64
import binascii

from tenancy.errors import Fault, Invalid
from tenancy.model import PageRequest

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
_VERSION = "1:"
_TOKEN_LENGTH_MAX = 1024


def page_request(size: int, token: str) -> PageRequest:
    """The page that a request asks for.

    Raises:
        Invalid: the size is out of bounds, or the token is none that we gave.
    """
    if not 0 <= size <= PAGE_SIZE_MAX:
        raise Invalid(
            [Fault(field="page_size", problem=f"must be 1-{PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE_DEFAULT}")]
        )
    after = ""
    if token:
        try:
            text = (
                base64.urlsafe_b64decode(token.encode()).decode() if len(token) <= _TOKEN_LENGTH_MAX else ""
            )
        except (binascii.Error, UnicodeError):
            text = ""
        # No database stores a NUL in text, and Postgres refuses to compare with one.
        if not text.startswith(_VERSION) or "\x00" in text:
            raise Invalid(
                [Fault(field="page_token", problem="is none that this service gave; begin without one")]
            )
        after = text.removeprefix(_VERSION)
    return PageRequest(size=size or PAGE_SIZE_DEFAULT, after=after)


def page_token(after: str) -> str:
    """The token for what comes after a key; empty for nothing."""
    return base64.urlsafe_b64encode(f"{_VERSION}{after}".encode()).decode() if after else ""
