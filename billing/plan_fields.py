"""Reading a TOML table field by field, with every fault kept and none raised, so that a file is mended in
one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

AMOUNT_DIGITS_MAX = 20
"""Longer numbers in a plan are slips of the hand, and would overflow exact arithmetic."""


class Fields:
    """One table. Each reader marks its key as known; :meth:`finish` makes the rest faults.

    `faults` is shared by a file's tables; each begins with the field's full name. A reader that finds a
    fault gives a harmless value, so that reading goes on.
    """

    def __init__(self, data: Mapping[str, Any], prefix: str = "", faults: list[str] | None = None) -> None:
        self._data = data
        self._prefix = prefix
        self._known: set[str] = set()
        self.faults: list[str] = [] if faults is None else faults

    def has(self, key: str) -> bool:
        """Whether the table has `key`."""
        return key in self._data

    def fault(self, key: str, message: str) -> None:
        """Note what is wrong with `key`."""
        self.faults.append(f"{self._prefix}{key}: {message}")

    def text(self, key: str) -> str:
        """A text that is not empty."""
        value = self._take(key, "a text")
        if value is None:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.fault(key, f"is {_shown(value)}, not a text")
            return ""
        return value

    def integer(self, key: str) -> int:
        """A whole number of at least 0."""
        value = self._take(key, "a whole number")
        if value is None:
            return 0
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < 0
            or _digits(value) > AMOUNT_DIGITS_MAX
        ):
            self.fault(key, f"is {_shown(value)}, not a whole number of at least 0")
            return 0
        return value

    def amount(self, key: str) -> Decimal:
        """A number of at least 0, to the digit as it is written."""
        value = self._take(key, "a number")
        if value is None:
            return Decimal(0)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | Decimal)
            or not Decimal(value).is_finite()
            or value < 0
            or _digits(value) > AMOUNT_DIGITS_MAX
        ):
            self.fault(key, f"is {_shown(value)}, not a number of at least 0, without quotes")
            return Decimal(0)
        return Decimal(value)

    def table(self, key: str) -> Fields:
        """A table inside this one."""
        value = self._take(key, "a table")
        prefix = f"{self._prefix}{key}."
        if value is None or not isinstance(value, dict):
            if value is not None:
                self.fault(key, f"is {_shown(value)}, not a table")
            return _Absent(self.faults)
        return Fields(value, prefix, self.faults)

    def tables(self, key: str) -> Iterator[Fields]:
        """The tables of an array of them; at least one."""
        value = self._take(key, "an array of tables")
        if value is None:
            return
        if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
            self.fault(key, "is not an array of at least one table")
            return
        for number, row in enumerate(value, 1):
            yield Fields(row, f"{self._prefix}{key}[{number}].", self.faults)

    def finish(self) -> None:
        """Make a fault of every key that no reader asked for."""
        for key in self._data:
            if key not in self._known:
                self.fault(key, f"is unknown; known are {', '.join(sorted(self._known))}")

    def _take(self, key: str, what: str) -> Any:
        self._known.add(key)
        if key not in self._data:
            self.fault(key, f"is missing; give {what}")
        return self._data.get(key)


class _Absent(Fields):
    """Stands for a table that is missing, which is one fault and not one for each of its fields."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__({}, "", faults)

    def _take(self, key: str, what: str) -> Any:
        return None


def _digits(number: int | Decimal) -> int:
    sign_digits_exponent = Decimal(number).as_tuple()
    exponent = sign_digits_exponent.exponent
    return len(sign_digits_exponent.digits) + (abs(exponent) if isinstance(exponent, int) else 0)


def _shown(value: object) -> str:
    text = repr(str(value)) if isinstance(value, str | Decimal) else repr(value)
    return text if len(text) <= 40 else text[:40] + "…"
