"""Checked conditions as SQL expressions: every value is a bound parameter, every name a column or a JSON key.

What a null does is what the server of 1.32 does: a comparison with a missing value is unknown, and so is its
negation, but a list without a value has no word, and a text no phrase, so that their negations are true.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Numeric,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

from cloud.engine.store.visibility_attributes import (
    BOOL,
    COLUMNS,
    KEYWORD,
    KEYWORD_LIST,
    TEXT,
    Attribute,
)
from cloud.engine.store.visibility_conditions import (
    All,
    Between,
    Compare,
    Condition,
    Either,
    FilterError,
    HasPhrase,
    IsNull,
    Not,
    StartsWith,
    Value,
    Within,
)

Clause: TypeAlias = ColumnElement[bool]

_JSON_KINDS: Final = {
    # what json_type of SQLite and jsonb_typeof of Postgres call the values of a type
    "text": (("text",), "string"),
    "number": (("integer", "real"), "number"),
    "boolean": (("true", "false"), "boolean"),
}
_CODE_POINT_MAX: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


class Lowering:
    """Lowers conditions to expressions over `table` for one database's dialect (``sqlite`` or
    ``postgresql``)."""

    def __init__(self, table: Table, dialect_name: str) -> None:
        self.table = table
        self.postgres = dialect_name == "postgresql"

    def clause(self, condition: Condition) -> Clause:
        """The expression that is true for the rows that fulfil `condition`."""
        return _clause(condition, self)

    def scalar(self, attribute: Attribute) -> ColumnElement[Any]:
        """The attribute's value, null where there is none or where it is of another type.

        A namespace can remove an attribute and define one of the same name with another type; values of the
        earlier type must not be compared with, nor break the statement.
        """
        column = COLUMNS.get(attribute.field)
        if column is not None:
            return self.table.c[column]
        kind = (
            "text" if attribute.type in {KEYWORD, TEXT} else "boolean" if attribute.type == BOOL else "number"
        )
        sqlite_kinds, postgres_kind = _JSON_KINDS[kind]
        if not self.postgres:
            attributes, path = self.table.c.attributes, _path(attribute)
            return case(
                (func.json_type(attributes, path).in_(sqlite_kinds), func.json_extract(attributes, path))
            )
        held = self._jsonb()[attribute.field]
        value = held.astext
        if kind == "text":
            value = value.collate("C")
        else:
            value = cast(value, Boolean() if kind == "boolean" else Numeric())
        return case((func.jsonb_typeof(held) == postgres_kind, value))

    def list_has(self, attribute: Attribute, values: tuple[Value, ...]) -> Clause:
        """Whether a list attribute has one of `values`; false, never null, where it has none."""
        if self.postgres:
            has = self._jsonb()[attribute.field].has_any(literal([*values], ARRAY(Text())))
            return func.coalesce(has, false())
        each = func.json_each(self.table.c.attributes, _path(attribute)).table_valued("value")
        return exists(select(literal(1)).select_from(each).where(each.c.value.in_(values)))

    def present(self, attribute: Attribute) -> Clause:
        """Whether the attribute has a value."""
        column = COLUMNS.get(attribute.field)
        if column is not None:
            return self.table.c[column].is_not(None)
        if self.postgres:
            return func.coalesce(self._jsonb().has_key(attribute.field), false())
        return func.json_type(self.table.c.attributes, _path(attribute)).is_not(None)

    def _jsonb(self) -> Any:
        """The attributes as Postgres has them, with its operators."""
        return type_coerce(self.table.c.attributes, JSONB())


def _path(attribute: Attribute) -> str:
    """The attribute's place in SQLite's path language, which has no escape for quotes."""
    if '"' in attribute.field:
        raise FilterError(f"invalid search attribute: {attribute.alias}")
    return f'$."{attribute.field}"'


def _kind(values: tuple[Value, ...]) -> TypeEngine[Any]:
    """The type that the database takes `values` to be."""
    if isinstance(values[0], bool):
        return Boolean()
    if isinstance(values[0], str):
        return Text()
    return Double() if any(isinstance(value, float) for value in values) else BigInteger()


def _bound(value: Value) -> ColumnElement[Any]:
    """`value` as a parameter whose type the database need not guess."""
    return literal(value, _kind((value,)))


@singledispatch
def _clause(condition: Condition, lowering: Lowering) -> Clause:
    raise TypeError(f"not a condition: {condition!r}")


@_clause.register
def _(condition: All, lowering: Lowering) -> Clause:
    return and_(*(lowering.clause(each) for each in condition.conditions))


@_clause.register
def _(condition: Either, lowering: Lowering) -> Clause:
    return or_(*(lowering.clause(each) for each in condition.conditions))


@_clause.register
def _(condition: Not, lowering: Lowering) -> Clause:
    return not_(lowering.clause(condition.condition))


@_clause.register
def _(condition: IsNull, lowering: Lowering) -> Clause:
    return not_(lowering.present(condition.attribute))


@_clause.register
def _(condition: Compare, lowering: Lowering) -> Clause:
    left, right = lowering.scalar(condition.attribute), _bound(condition.value)
    return left.op(condition.operator, is_comparison=True)(right)


@_clause.register
def _(condition: Within, lowering: Lowering) -> Clause:
    if condition.attribute.type == KEYWORD_LIST:
        return lowering.list_has(condition.attribute, condition.values)
    # One parameter that is spread when it is run: filters with more or fewer values share a compiled statement.
    values = bindparam("values", condition.values, type_=_kind(condition.values), expanding=True, unique=True)
    return lowering.scalar(condition.attribute).in_(values)


@_clause.register
def _(condition: Between, lowering: Lowering) -> Clause:
    low, high = _bound(condition.low), _bound(condition.high)
    return lowering.scalar(condition.attribute).between(low, high)


@_clause.register
def _(condition: StartsWith, lowering: Lowering) -> Clause:
    # As a range, so that case counts on both databases, nothing needs an escape, and an index serves it.
    column = lowering.scalar(condition.attribute)
    after = _after(condition.prefix)
    from_prefix = column >= _bound(condition.prefix)
    return from_prefix if after is None else and_(from_prefix, column < _bound(after))


@_clause.register
def _(condition: HasPhrase, lowering: Lowering) -> Clause:
    text = func.coalesce(lowering.scalar(condition.attribute), literal("", Text()))
    find = func.strpos if lowering.postgres else func.instr
    return or_(false(), *(find(text, _bound(phrase)) > 0 for phrase in condition.phrases))


def _after(prefix: str) -> str | None:
    """The first text in order of code points that is after all that begin with `prefix`, None if there is
    none."""
    kept = prefix.rstrip(chr(_CODE_POINT_MAX))
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
