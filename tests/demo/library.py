"""The input: the Python standard library's sources on this machine, and the index of them computed directly."""

from __future__ import annotations

import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

FILES_MAX = 320
LEFT_OUT = frozenset(
    {"__pycache__", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
)
_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_WORD = re.compile(r"[A-Za-z]{2,}")


def sources() -> list[Path]:
    """Python files of the standard library, sorted, at most FILES_MAX, the largest surely among them."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts)]
    found.sort(key=lambda path: path.stat().st_size, reverse=True)
    return sorted(found[:FILES_MAX])


def count_words_of(text: str) -> dict[str, int]:
    """How often each word stands in `text`, regardless of case."""
    return dict(Counter(word.lower() for word in _WORD.findall(text)))


def read(path: Path) -> str:
    """A source's text; the few that are not UTF-8 are read byte by byte."""
    return path.read_text(encoding="utf-8", errors="backslashreplace")


def bound(paths: Sequence[Path]) -> Iterator[bytes]:
    """All sources as one text, in the order given, each ended by a line of its own."""
    for path in paths:
        yield read(path).encode()
        yield b"\n"


class WordCounter:
    """How many words a text has that comes in pieces, which may cut a word."""

    def __init__(self) -> None:
        self._words = 0
        self._rest = b""

    def feed(self, piece: bytes | memoryview) -> None:
        """The next bytes."""
        text = self._rest + bytes(piece)
        whole = text.rstrip(_LETTERS)
        self._words += len(_WORD.findall(whole.decode(errors="replace")))
        self._rest = text[len(whole) :]

    def close(self) -> int:
        """The words in all."""
        return self._words + len(_WORD.findall(self._rest.decode(errors="replace")))


def merged(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sum of several counts, in the order of words."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def index_directly(paths: Sequence[Path]) -> dict[str, int]:
    """The index of `paths`, without any service."""
    return merged(count_words_of(read(path)) for path in paths)
