"""List filters whose conditions on indexed attributes ask for what is stored.

`CustomerId = "x"` becomes `CustomerId IN ('…', '…')`, one for each key of the ring. All else of a filter stays as it was
written, letter by letter. What can't be asked of hashes is refused: an order, a range, a prefix.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from codec.blind_index.index import BlindIndex, BlindIndexError

FILTER_BYTES_MAX = 1024 * 1024

_TOKENS = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
  | (?P<name>`[^`]*`|[A-Za-z_][A-Za-z0-9_.]*)
  | (?P<other><=|>=|!=|<>|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_POSSIBLE = "Hashes can be asked for by =, !=, IN, NOT IN, IS NULL and IS NOT NULL"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind in ("name", "other") and self.text.upper() in words


def translated_filter(index: BlindIndex, query: str) -> str:
    """`query` with its conditions on indexed attributes translated.

    Raises:
        BlindIndexError: such a condition can't be asked of hashes, or can't be understood.
        codec.KeyRingError: the ring can't be read.
    """
    if not any(name in query for name in index.attributes):
        return query
    if len(query) > FILTER_BYTES_MAX:
        raise BlindIndexError(f"The filter is longer than {FILTER_BYTES_MAX} characters.")
    tokens = [
        _Token(match.lastgroup or "", match.group(), match.start(), match.end())
        for match in _TOKENS.finditer(query)
        if match.lastgroup != "space"
    ]
    parts: list[str] = []
    copied = 0
    position = 0
    while position < len(tokens):
        token = tokens[position]
        attribute = token.text.strip("`") if token.kind == "name" else ""
        if attribute not in index.attributes:
            position += 1
            continue
        condition, position = _condition(index, attribute, tokens, position + 1)
        if condition is not None:
            parts += [query[copied : token.end], condition]
            copied = tokens[position - 1].end
    return "".join((*parts, query[copied:]))


def asks_for_hashes(index: BlindIndex, query: str) -> bool:
    """Whether a filter has anything of an indexed attribute, so that a translation may change it."""
    names = (match["name"] for match in _TOKENS.finditer(query))
    return any(name.strip("`") in index.attributes for name in names if name)


def _condition(
    index: BlindIndex, attribute: str, tokens: list[_Token], position: int
) -> tuple[str | None, int]:
    """What to write behind the attribute's name, None for what stands there; and the token behind the condition."""
    following = [*tokens[position : position + 3], *[_Token("end", "", 0, 0)] * 3]
    first, second, third = following[:3]
    if first.is_word("IS"):
        if second.is_word("NULL") or (second.is_word("NOT") and third.is_word("NULL")):
            return None, position + (2 if second.is_word("NULL") else 3)
    elif first.is_word("=", "!=", "<>") and second.kind == "text":
        found = index.candidates(attribute, _value(second.text))
        return _written(found, negated=first.text != "="), position + 2
    elif first.is_word("IN"):
        return _in_list(index, attribute, tokens, position + 1, negated=False)
    elif first.is_word("NOT") and second.is_word("IN"):
        return _in_list(index, attribute, tokens, position + 2, negated=True)
    if first.is_word("=", "!=", "<>"):
        what = f"the value behind its {first.text} is " + (
            "missing" if second.kind == "end" else "no text in quotes"
        )
        raise BlindIndexError(f"{attribute} is stored as keyed hashes (blind-index), and {what}.")
    shown = " ".join(one.text for one in (first, second) if one.kind in ("name", "other")).upper()
    raise BlindIndexError(
        f"{attribute} is stored as keyed hashes (blind-index), so a filter can't have it {_where(shown)}. {_POSSIBLE}, with "
        "texts in quotes."
    )


def _where(shown: str) -> str:
    return f"with {shown}" if shown else "there"


def _in_list(
    index: BlindIndex, attribute: str, tokens: list[_Token], position: int, *, negated: bool
) -> tuple[str, int]:
    found: list[str] = []
    expects_value = True
    for at in (
        range(position + 1, len(tokens)) if position < len(tokens) and tokens[position].text == "(" else ()
    ):
        token = tokens[at]
        if token.text == ")" and not expects_value and found:
            return _written(found, negated=negated, always_list=True), at + 1
        if expects_value and token.kind == "text":
            found += index.candidates(attribute, _value(token.text))
        elif expects_value or token.text != ",":
            break
        expects_value = not expects_value
    raise BlindIndexError(
        f"{attribute} is stored as keyed hashes (blind-index), and what follows its IN is no list of texts in quotes."
    )


def _written(found: list[str], *, negated: bool, always_list: bool = False) -> str:
    # What is stored has no character that would have to be escaped.
    if len(found) == 1 and not always_list:
        return f" {'!=' if negated else '='} '{found[0]}'"
    listed = ", ".join(f"'{one}'" for one in dict.fromkeys(found))
    return f" {'NOT IN' if negated else 'IN'} ({listed})"


def _value(text: str) -> str:
    quote = text[0]
    inner = text[1:-1].replace(quote * 2, quote)
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), inner)
