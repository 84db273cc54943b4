"""Durations as people write them: 90d, 12h, 30m."""

from __future__ import annotations

import re
from datetime import timedelta

_FORM = re.compile(r"(\d{1,6})([dhm])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


def duration(text: str) -> timedelta:
    """A duration such as ``90d``, ``12h`` or ``30m``.

    Raises:
        ValueError: it is of another form; the sentence shows the right one.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no duration such as 90d, 12h or 30m")
    return int(found[1]) * _UNITS[found[2]]
