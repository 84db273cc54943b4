"""What lists and counts of standalone executions of both kinds share: each has a visibility of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from cloud.engine.api import checks
from cloud.engine.api.lists import page_of
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.schema import visibility
from cloud.engine.store.visibility import Count, VisibilityRow
from cloud.engine.store.visibility_attributes import AttributeTypes
from cloud.engine.store.visibility_filter import FilterError, ListFilter
from cloud.rpc import InvalidArgument


class ParseFilter(Protocol):
    """Parses a filter of one kind."""

    def __call__(self, query: str, types: AttributeTypes, *, may_order: bool = False) -> ListFilter:
        """The filter.

        Raises:
            FilterError: it can't be parsed.
        """


class StandaloneRows:
    """The rows of one kind: listed as `listed_as` and the namespace's id, found by filters that `parse` reads.

    `require_enabled` raises if the kind is switched off.
    """

    def __init__(
        self,
        runtime: Runtime,
        listed_as: str,
        parse: ParseFilter,
        require_enabled: Callable[[Runtime], None],
    ) -> None:
        self._runtime = runtime
        self._listed_as = listed_as
        self._parse = parse
        self._require_enabled = require_enabled

    async def page(
        self, namespace_name: str, query: str, page_size: int, page_token: bytes
    ) -> tuple[list[VisibilityRow], bytes]:
        """A page of what a filter finds, and the next page's token.

        Raises:
            InvalidArgument: the filter or the token is wrong.
        """
        namespace, list_filter = self._parsed(namespace_name, query, may_order=True)
        return await page_of(
            self._runtime,
            namespace.namespace_id,
            self._listed_as + namespace.namespace_id,
            list_filter,
            query,
            page_size,
            page_token,
        )

    async def count(self, namespace_name: str, query: str) -> Count:
        """How many a filter finds, in groups if it says GROUP BY.

        Raises:
            InvalidArgument: the filter is wrong.
        """
        namespace, list_filter = self._parsed(namespace_name, query)
        listed_as = self._listed_as + namespace.namespace_id
        return await self._runtime.database.list(
            namespace.namespace_id, lambda c: visibility.count(c, listed_as, list_filter)
        )

    def _parsed(self, name: str, query: str, *, may_order: bool = False) -> tuple[Namespace, ListFilter]:
        namespace = checks.namespace_of(self._runtime, name)
        self._require_enabled(self._runtime)
        try:
            types = cast("AttributeTypes", namespace.search_attributes)
            return namespace, self._parse(query, types, may_order=may_order)
        except FilterError as error:
            raise InvalidArgument(str(error)) from None
