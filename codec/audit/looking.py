"""Looks at bytes: for canaries, for payloads, and into all that opens, level by level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from codec.audit.needles import Needles
from codec.audit.payloads import payloads_in
from codec.audit.report import Report
from codec.audit.unpacking import DEPTH_MAX, Budget, opened

WINDOW_BYTES = 8 * 1024 * 1024
"""How much is searched in one call, so that progress is seen and a hit's list stays short."""

Progress = Callable[[str, int], None]
"""Told the source and how many bytes more of it were looked at."""


@dataclasses.dataclass(frozen=True)
class Pages:
    """How a file is cut: each page of `size` bytes begins behind `head` bytes of its own, the first behind `lead` bytes.

    What is in pages is counted elsewhere, whole; what lies across two of them can't be judged here.
    """

    size: int
    head: int = 0
    lead: int = 0

    def hold(self, start: int, end: int) -> bool:
        """Whether all from `start` to `end` is in one page."""
        unit = self.size + self.head
        return (start - self.lead) // unit == (max(end, start + 1) - 1 - self.lead) // unit


class Looker:
    """One audit's eyes: what it sees goes into `report`."""

    def __init__(self, needles: Needles, report: Report, progress: Progress | None = None) -> None:
        self._needles = needles
        self.report = report
        self._progress = progress

    def begin(self, source: str) -> Budget:
        """A source is begun; what may be opened in it."""
        self.report.sources.setdefault(source, 0)
        return Budget()

    def advance(self, source: str, count: int) -> None:
        """`count` bytes of a source were read."""
        self.report.sources[source] += count
        if self._progress is not None:
            self._progress(source, count)

    def readable(self, what: str, example: str) -> None:
        """Something stands there by design; an example that is a secret is not repeated in the report."""
        secret = next(self._needles.find(example.encode()), None) is not None
        self.report.found_readable(what, "(a canary)" if secret else example)

    def look(
        self,
        data: bytes | memoryview,
        source: str,
        place: str,
        budget: Budget,
        *,
        counted: bool = True,
        pages: Pages | None = None,
    ) -> None:
        """Look at all of `data`. Of what is counted elsewhere (`counted` False, or in `pages`), plaintext alone is told."""
        view = memoryview(data)
        counted = counted and pages is None
        self._search(view, source, place, "")
        for found in payloads_in(view, damaged=pages is not None):
            if pages is None or pages.hold(found.offset, found.end):
                self.report.found_payload(found, "", source, place, counted=counted)
        self._open(view, source, place, budget, "", 0, counted)

    def _search(self, data: memoryview, source: str, place: str, trail: str) -> None:
        overlap = max(self._needles.bytes_max - 1, 0)
        for start in range(0, len(data), WINDOW_BYTES):
            window = data[start : start + WINDOW_BYTES + overlap]
            for number, form, offset in self._needles.find(window):
                if offset < WINDOW_BYTES:
                    name = f"{trail} > {form}" if trail else form
                    self.report.found_canary(number, name, source, place, start + offset)

    def _open(
        self, data: memoryview, source: str, place: str, budget: Budget, trail: str, depth: int, counted: bool
    ) -> None:
        if depth >= DEPTH_MAX:
            return
        for packing, content, offset in opened(data, budget):
            inner = f"{trail} > {packing}" if trail else packing
            at = f"{place}, opened at {offset}" if depth == 0 else place
            view = memoryview(content)
            self._search(view, source, at, inner)
            for found in payloads_in(view):
                self.report.found_payload(found, inner, source, at, counted=counted)
            self._open(view, source, at, budget, inner, depth + 1, counted)
