"""The list filter: from a caller's text to a checked condition.

The language is the WHERE clause of SQL as the server of 1.32 takes it (https://docs.temporal.io/list-filter),
with STARTS_WITH, and GROUP BY for counts. sqlglot parses it; what comes out is walked against a closed list
of node types, so that whatever else SQL has (functions, subqueries, unions) is refused, and each name and
value is checked against the attribute's type. No text of the caller's goes into a statement:
:mod:`cloud.engine.store.visibility_sql` binds the values as parameters.

A filter comes from whoever may list, so its length, nesting and number of conditions and values are bounded
before and while it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.mysql import MySQLParser

from cloud.engine.store.visibility_attributes import (
    ACTIVITY_STATUS,
    BOOL,
    DATETIME,
    DOUBLE,
    INT,
    KEYWORD,
    KEYWORD_LIST,
    NAMESPACE_DIVISION,
    OPERATION_STATUS,
    TEXT,
    Attribute,
    AttributeTypes,
    resolve,
    resolve_of_activity,
    resolve_of_operation,
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
    ListFilter,
    Not,
    Order,
    StartsWith,
    Value,
    Within,
)
from cloud.engine.store.visibility_literals import cut, kind, literal, shown, typed
from cloud.engine.store.visibility_values import storable, words

__all__ = [
    "CONDITIONS_MAX",
    "DEPTH_MAX",
    "LENGTH_MAX",
    "VALUES_MAX",
    "FilterError",
    "ListFilter",
    "parse_condition",
    "parse_filter",
]

LENGTH_MAX: Final = 64 * 1024
"""Characters of a filter: room for a thousand workflow ids in one IN."""
DEPTH_MAX: Final = 20
"""Parentheses and NOTs within each other; each costs the parser some thirty frames of Python's thousand."""
CONDITIONS_MAX: Final = 200
"""Conditions of a filter, words looked for in texts among them; SQLite takes expressions up to a depth of 1,000."""
VALUES_MAX: Final = 2_000
"""Values of a filter; SQLite and Postgres take some 32,000 parameters in a statement."""
TOKENS_MAX: Final = 8_000
"""Words and signs of a filter: what the two bounds above leave room for, so that no more is parsed."""

_PREFIX: Final = "SELECT * FROM visibility "

_KEYWORDS: Final = frozenset(
    {"SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "ASC", "DESC", "HAVING", "LIMIT", "UNION", "EXISTS"}
    | {"AND", "OR", "NOT", "XOR", "IN", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "LIKE", "REGEXP"}
)
"""What the language has, and what callers try of SQL, so that they are told that it has it not."""


class _FilterDialect(MySQL):
    """MySQL's quoting, which the server's parser follows, STARTS_WITH as an operator, and few words reserved.

    So attributes may be called Date, Index or Status without quotes, and most of SQL is not even recognised.
    """

    class Tokenizer(MySQL.Tokenizer):
        KEYWORDS: ClassVar = {
            **{
                keyword: kind
                for keyword, kind in MySQL.Tokenizer.KEYWORDS.items()
                if keyword in _KEYWORDS or not keyword[0].isalpha()
            },
            "STARTS_WITH": TokenType.CARET_AT,
        }

    class Parser(MySQLParser):
        RANGE_PARSERS: ClassVar = {
            **MySQLParser.RANGE_PARSERS,
            TokenType.CARET_AT: lambda self, this: self.expression(
                exp.StartsWith(this=this, expression=self._parse_bitwise())
            ),
        }


_DIALECT: Final = _FilterDialect()
_COMPARISONS: Final[dict[type[exp.Expr], str]] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "<=>",
    exp.StartsWith: "STARTS_WITH",
    exp.Like: "LIKE",
    exp.RegexpLike: "REGEXP",
}
_ORDERED: Final = frozenset({"=", "!=", "<", "<=", ">", ">=", "IN"})
_OPERATORS: Final[dict[int, frozenset[str]]] = {
    KEYWORD: _ORDERED | {"STARTS_WITH"},
    KEYWORD_LIST: frozenset({"=", "!=", "IN"}),
    TEXT: frozenset({"=", "!="}),
    INT: _ORDERED,
    DOUBLE: _ORDERED,
    BOOL: _ORDERED,
    DATETIME: _ORDERED,
}
_RANGES: Final = frozenset({KEYWORD, INT, DOUBLE, DATETIME})
_GROUPS: Final = frozenset({"ExecutionStatus", ACTIVITY_STATUS, OPERATION_STATUS, NAMESPACE_DIVISION})
_CLAUSES: Final[dict[str, str]] = {"order": "ORDER BY", "limit": "LIMIT", "having": "HAVING"}
_PREFIX_OPERATORS: Final = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE})


def parse_filter(query: str, types: AttributeTypes, *, may_order: bool = False) -> ListFilter:
    """Parse a list filter; `types` are the namespace's custom search attributes. `may_order`: whether ORDER BY is served.

    Runs of the namespace's divisions (schedules, batches) are left out unless the filter names the division.

    Raises:
        FilterError: the filter is malformed, names what does not exist, compares what can't be compared, or
            is too long or too deep.
    """
    reader = _Reader(lambda alias: resolve(alias, types))
    select = _parse(query, may_order=may_order)
    where = select.args.get("where")
    condition = reader.condition(where.this) if where is not None else None
    group_by = reader.group(select.args["group"]) if select.args.get("group") is not None else None
    if not reader.names_division:
        outside = IsNull(Attribute(NAMESPACE_DIVISION, NAMESPACE_DIVISION, KEYWORD))
        condition = outside if condition is None else All((condition, outside))
    return ListFilter(condition, group_by, reader.conditions, reader.order(select))


def parse_activity_filter(query: str, types: AttributeTypes, *, may_order: bool = False) -> ListFilter:
    """Parse a filter of standalone activities, which have attributes of their own beside the namespace's.

    Raises:
        FilterError: as of `parse_filter`.
    """
    return _parse_standalone(_Reader(lambda alias: resolve_of_activity(alias, types)), query, may_order)


def parse_operation_filter(query: str, types: AttributeTypes, *, may_order: bool = False) -> ListFilter:
    """Parse a filter of standalone Nexus operations, which have attributes of their own beside the namespace's.

    Raises:
        FilterError: as of `parse_filter`.
    """
    return _parse_standalone(_Reader(lambda alias: resolve_of_operation(alias, types)), query, may_order)


def _parse_standalone(reader: _Reader, query: str, may_order: bool) -> ListFilter:
    select = _parse(query, may_order=may_order)
    where = select.args.get("where")
    condition = reader.condition(where.this) if where is not None else None
    group_by = reader.group(select.args["group"]) if select.args.get("group") is not None else None
    return ListFilter(condition, group_by, reader.conditions, reader.order(select))


def parse_condition(query: str, find: Callable[[str], Attribute | None]) -> Condition | None:
    """Parse a filter of things that are no runs, whose attributes `find` knows; None if it says nothing.

    Raises:
        FilterError: as of `parse_filter`.
    """
    select = _parse(query)
    if select.args.get("group") is not None:
        raise FilterError("operation is not supported: 'GROUP BY' clause")
    where = select.args.get("where")
    return None if where is None else _Reader(find).condition(where.this)


def _parse(text: str, *, may_order: bool = False) -> exp.Select:
    if len(text) > LENGTH_MAX:
        raise FilterError(
            f"the filter has {len(text)} characters, at most {LENGTH_MAX} are read; ask in several parts"
        )
    query = storable(text.strip())
    clause = query.upper().startswith(("ORDER BY", "GROUP BY"))
    prefix = _PREFIX if clause or not query else f"{_PREFIX}WHERE "
    try:
        tokens = _DIALECT.tokenize(prefix + query)
        while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
            tokens.pop()
        _check_tokens(tokens)
        parsed = [each for each in _DIALECT.parser().parse(tokens, prefix + query) if each is not None]
    except TokenError:
        raise FilterError(
            "malformed SQL query: a quote is not closed, or a character has no meaning"
        ) from None
    except ParseError as error:
        raise FilterError(_syntax_error(error, len(prefix))) from None
    except RecursionError:
        raise FilterError(_TOO_DEEP) from None
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Select):
        raise FilterError(_ONE_CONDITION)
    select = parsed[0]
    for name, clause_name in _CLAUSES.items():
        if name == "order" and may_order and select.args.get("group") is None:
            continue
        if select.args.get(name) is not None:
            raise FilterError(f"operation is not supported: '{clause_name}' clause")
    known = {"expressions", "from_", "where", "group", "order"}
    if unknown := sorted(name for name, value in select.args.items() if value and name not in known):
        raise FilterError(f"operation is not supported: '{unknown[0].upper()}' clause")
    return select


_ONE_CONDITION: Final = "malformed SQL query: a filter is one condition, such as \"WorkflowType = 'Order'\""
_TOO_DEEP: Final = f"parentheses and NOTs are nested more than {DEPTH_MAX} deep"


def _check_tokens(tokens: list[Token]) -> None:
    """Refuse before the parser recurses (into parentheses, rows of NOTs and signs) or reads a second
    statement."""
    if len(tokens) > TOKENS_MAX:
        raise FilterError(f"the filter has more than {TOKENS_MAX} words and signs; ask in several parts")
    depth = row = 0
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            raise FilterError(_ONE_CONDITION)
        row = row + 1 if token.token_type in _PREFIX_OPERATORS else 0
        if token.token_type is TokenType.L_PAREN:
            depth += 1
        elif token.token_type is TokenType.R_PAREN:
            depth -= 1
        if depth + row > DEPTH_MAX:
            raise FilterError(_TOO_DEEP)


def _syntax_error(error: ParseError, prefix_length: int) -> str:
    """Where the query, not the statement around it, stops making sense."""
    for fault in error.errors:
        column, near = fault.get("col"), fault.get("highlight")
        if fault.get("line") == 1 and isinstance(column, int) and isinstance(near, str):
            position = max(column - prefix_length - len(near) + 1, 1)
            return f"malformed SQL query: syntax error at position {position} near {shown(near)}"
    return "malformed SQL query: syntax error"


class _Reader:
    """Walks the parsed filter, resolves names and checks values."""

    def __init__(self, find: Callable[[str], Attribute | None]) -> None:
        self._find = find
        self.conditions = 0
        self._values = 0
        self.names_division = False

    def condition(self, node: exp.Expr) -> Condition:
        """The condition that `node` states."""
        if isinstance(node, exp.Paren):
            return self.condition(node.this)
        if isinstance(node, exp.Not):
            return Not(self.condition(node.this))
        if isinstance(node, exp.And | exp.Or):
            # A chain of a thousand ANDs is a thousand deep on its left: it is walked in a loop.
            parts = tuple(self.condition(each) for each in _chain(node))
            return All(parts) if isinstance(node, exp.And) else Either(parts)
        self._add_conditions(1)
        if type(node) in _COMPARISONS:
            return self._comparison(node, _COMPARISONS[type(node)])
        if isinstance(node, exp.In):
            return self._in(node)
        if isinstance(node, exp.Between):
            return self._between(node)
        if isinstance(node, exp.Is):
            attribute = self._attribute(node.this)
            if not isinstance(node.expression, exp.Null):
                raise FilterError(
                    "invalid expression: 'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"
                )
            return IsNull(attribute)
        if isinstance(node, exp.Column):
            raise FilterError("invalid expression: incomplete expression")
        if isinstance(node, exp.Func):
            raise FilterError("operation is not supported: function expression")
        raise FilterError(f"operation is not supported: {kind(node)} as a condition")

    def group(self, node: exp.Group) -> Attribute:
        """The attribute that a count is grouped by."""
        by = node.expressions
        if len(by) != 1 or any(value for name, value in node.args.items() if name != "expressions"):
            raise FilterError("operation is not supported: 'GROUP BY' clause supports only a single field")
        attribute = self._attribute(by[0])
        if attribute.field not in _GROUPS:
            raise FilterError(
                "operation is not supported: 'GROUP BY' clause is not supported for search attribute "
                f"{attribute.alias}"
            )
        return attribute

    def order(self, select: exp.Select) -> Order | None:
        """By what a list is sorted, None if it does not say."""
        node = select.args.get("order")
        if node is None:
            return None
        by = node.expressions
        if len(by) != 1 or not isinstance(by[0], exp.Ordered):
            raise FilterError("operation is not supported: 'ORDER BY' clause supports only a single field")
        attribute = self._attribute(by[0].this)
        if attribute.type in {TEXT, KEYWORD_LIST}:
            raise FilterError(
                "operation is not supported: 'ORDER BY' clause is not supported for search attribute "
                f"{attribute.alias} of type {attribute.type_name}"
            )
        return Order(attribute, bool(by[0].args.get("desc")))

    def _comparison(self, node: exp.Expr, operator: str) -> Condition:
        attribute = self._attribute(node.this)
        value = self._value(attribute, node.expression)
        _check_operator(attribute, operator)
        if attribute.type == TEXT:
            found = HasPhrase(attribute, _phrases(attribute, str(value)))
            self._add_conditions(max(len(found.phrases) - 1, 0))
            return found if operator == "=" else Not(found)
        if attribute.type == KEYWORD_LIST:
            has = Within(attribute, (value,))
            return has if operator == "=" else Not(has)
        if operator == "STARTS_WITH":
            if not isinstance(value, str):  # a status, which is a number by now
                raise FilterError(
                    "operation is not supported: operator 'STARTS_WITH' not supported for search attribute "
                    f"'{attribute.alias}'"
                )
            return StartsWith(attribute, value)
        return Compare(attribute, operator, value)

    def _in(self, node: exp.In) -> Condition:
        attribute = self._attribute(node.this)
        if not node.expressions:
            if node.args.get("query") is not None:
                raise FilterError("invalid expression: unexpected value type subquery")
            raise FilterError("malformed SQL query: 'IN' needs values in parentheses, such as IN ('a', 'b')")
        values = tuple(self._value(attribute, each) for each in node.expressions)
        _check_operator(attribute, "IN")
        return Within(attribute, values)

    def _between(self, node: exp.Between) -> Condition:
        attribute = self._attribute(node.this)
        if attribute.type not in _RANGES:
            raise FilterError(
                "invalid expression: cannot do range condition on search attribute "
                f"'{attribute.alias}' of type {attribute.type_name}"
            )
        if any(value for name, value in node.args.items() if name not in {"this", "low", "high"}):
            raise FilterError("operation is not supported: a form of 'BETWEEN'")
        low, high = (self._value(attribute, node.args[end]) for end in ("low", "high"))
        return Between(attribute, low, high)

    def _add_conditions(self, count: int) -> None:
        self.conditions += count
        if self.conditions > CONDITIONS_MAX:
            raise FilterError(
                f"the filter has more than {CONDITIONS_MAX} conditions; use IN, or ask in several parts"
            )

    def _attribute(self, node: exp.Expr) -> Attribute:
        if not isinstance(node, exp.Column):
            raise FilterError(f"invalid expression: must be a column name but was {kind(node)}")
        alias = ".".join(part.name for part in node.parts)
        attribute = self._find(alias)
        if attribute is None:
            raise FilterError(f"invalid search attribute: {cut(alias)}")
        if attribute.field == NAMESPACE_DIVISION:
            self.names_division = True
        return attribute

    def _value(self, attribute: Attribute, node: exp.Expr) -> Value:
        self._values += 1
        if self._values > VALUES_MAX:
            raise FilterError(f"the filter has more than {VALUES_MAX} values; ask in several parts")
        return typed(attribute, literal(node))


def _chain(node: exp.Expr) -> Iterator[exp.Expr]:
    """The operands of a row of ANDs, or of ORs, in their order."""
    kind = type(node)
    stack = [node]
    while stack:
        each = stack.pop()
        if type(each) is kind:
            stack += (each.expression, each.this)
        else:
            yield each


def _phrases(attribute: Attribute, text: str) -> tuple[str, ...]:
    """Any one of the blank-separated parts of `text` is to be found, each as the phrase of its words."""
    if not text.split():
        raise FilterError(
            f"invalid expression: no tokens found filtering on Text type search attribute {attribute.alias}"
        )
    return tuple(dict.fromkeys(phrase for phrase in map(words, text.split()) if phrase))


def _check_operator(attribute: Attribute, operator: str) -> None:
    if operator not in _OPERATORS[attribute.type]:
        raise FilterError(
            f"operation is not supported: operator '{operator}' not supported for {attribute.type_name} type "
            f"search attribute '{attribute.alias}'"
        )
