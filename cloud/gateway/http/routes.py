"""Paths of the HTTP API, read from the protos' own `google.api.http` options: no table is kept by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from cloud.rpc import Method

_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a method. `variables` are the field paths that the path's variable segments fill, in order."""

    method: Method
    verb: str
    template: tuple[str | None, ...]
    variables: tuple[tuple[str, ...], ...]
    with_body: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A route with the values of its variables."""

    route: Route
    values: tuple[str, ...]


_Node: TypeAlias = "dict[str | None, _Node | Route]"
_END = ""  # no segment of a template is empty


class Routes:
    """Finds the method of a path. Of two templates that fit, the one that names the earlier segment wins."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._trees: dict[str, _Node] = {}
        for method in methods:
            for route in routes_of(method):
                self._add(route)

    def find(self, verb: str, segments: tuple[str, ...]) -> Found | None:
        """The route of a request, None if there is none."""
        return _find(self._trees.get(verb, {}), segments, 0, ())

    def other_verb(self, verb: str, segments: tuple[str, ...]) -> bool:
        """Whether the path exists with another verb."""
        return any(self.find(other, segments) is not None for other in self._trees if other != verb)

    def _add(self, route: Route) -> None:
        node = self._trees.setdefault(route.verb, {})
        for segment in route.template:
            below = node.setdefault(segment, {})
            assert isinstance(below, dict)
            node = below
        if _END in node:
            raise ValueError(f"two methods have the path {route.verb} {route.template}")
        node[_END] = route


def routes_of(method: Method) -> list[Route]:
    """All paths of a method; empty where its proto gives none.

    Raises:
        ValueError: an option has a form that is not understood here.
    """
    descriptor = _descriptor(method)
    if descriptor is None:
        return []  # one of our own, which has no proto
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    routes = []
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb is None:
            continue
        if verb not in _VERBS or binding.body not in ("", "*") or binding.response_body:
            raise ValueError(f"{descriptor.full_name} has an HTTP rule of an unknown form")
        routes.append(_route(method, verb.upper(), getattr(binding, verb), binding.body == "*"))
    return routes


def _route(method: Method, verb: str, path: str, with_body: bool) -> Route:
    template: list[str | None] = []
    variables = []
    for segment in path.removeprefix("/").split("/"):
        literal = segment
        if segment.startswith("{") and segment.endswith("}"):
            literal = segment[1:-1]
            variables.append(tuple(literal.split(".")))
            template.append(None)
        else:
            template.append(segment)
        if not literal or set(literal) & set("{}=*:"):
            raise ValueError(f"{method.path} has a path of an unknown form: {path}")
    return Route(method, verb, tuple(template), tuple(variables), with_body)


def _descriptor(method: Method) -> MethodDescriptor | None:
    try:
        return descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}")
    except KeyError:
        return None


def _find(node: _Node, segments: tuple[str, ...], at: int, values: tuple[str, ...]) -> Found | None:
    if at == len(segments):
        route = node.get(_END)
        return Found(route, values) if isinstance(route, Route) else None
    segment = segments[at]
    below = node.get(segment) if segment else None
    if isinstance(below, dict):
        found = _find(below, segments, at + 1, values)
        if found is not None:
            return found
    below = node.get(None)
    return _find(below, segments, at + 1, (*values, segment)) if isinstance(below, dict) else None
