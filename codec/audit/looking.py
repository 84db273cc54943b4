"""Looks at bytes: for canaries, for payloads, and into all that opens, level by level."""

from __future__ import annotations

from collections.abc import Callable

from codec.audit.needles import Needles
from codec.audit.payloads import payloads_in
from codec.audit.report import Report
from codec.audit.unpacking import DEPTH_MAX, Budget, opened

WINDOW_BYTES = 8 * 1024 * 1024
"""How much is searched in one call, so that progress is seen and a hit's list stays short."""

Progress = Callable[[str, int], None]
"""Told the source and how many bytes more of it were looked at."""


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
        self, data: bytes | memoryview, source: str, place: str, budget: Budget, *, copies: bool = False
    ) -> None:
        """Look at all of `data`. `copies`: what is here is counted elsewhere, so payloads are not counted again."""
        self._look(memoryview(data), source, place, budget, "", 0, copies)

    def _look(
        self, data: memoryview, source: str, place: str, budget: Budget, trail: str, depth: int, copies: bool
    ) -> None:
        overlap = max(self._needles.bytes_max - 1, 0)
        for start in range(0, len(data), WINDOW_BYTES):
            window = data[start : start + WINDOW_BYTES + overlap]
            for number, form, offset in self._needles.find(window):
                if offset < WINDOW_BYTES:
                    name = f"{trail} > {form}" if trail else form
                    self.report.found_canary(number, name, source, place, start + offset)
        for found in payloads_in(data):
            self.report.found_payload(found, trail, source, place, counted=not copies)
        if depth >= DEPTH_MAX:
            return
        for packing, content, offset in opened(data, budget):
            inner = f"{trail} > {packing}" if trail else packing
            at = f"{place}, opened at {offset}" if depth == 0 else place
            self._look(memoryview(content), source, at, budget, inner, depth + 1, copies)
