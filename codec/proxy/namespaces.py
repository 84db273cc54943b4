"""Which namespace a request is about, and the names of namespaces in messages, found by descriptors.

A worker behind a proxy may know a namespace by another name than the service: `Renaming` writes each name as the other
side knows it, wherever a message has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from codec.descriptors import Descriptor, held_type, is_map

_NAMED_OTHERWISE = frozenset({("temporal.api.namespace.v1.NamespaceInfo", "name")})
"""(message, field) that hold a namespace's name under another name than `…namespace`."""

NamespacesOf = Callable[[Any], "tuple[str, ...]"]
"""From a request to the namespaces that it is about; none, where it says none."""


class SeveralNamespaces(Exception):
    """A request is about more than one namespace, so no one chain is right for it."""


def namespace_accessor(descriptor: Descriptor) -> Callable[[Any], str] | None:
    """The accessor of the namespace of requests of this type; None where they have none.

    It gives "" for a request that leaves it out, and raises SeveralNamespaces where the request's parts (of
    ExecuteMultiOperation) disagree.
    """
    field = descriptor.fields_by_name.get("namespace")
    if field is None or field.type != field.TYPE_STRING:
        return None
    parts = [
        (one.name, [inner.name for inner in one.message_type.fields if _is_request(inner)])
        for one in descriptor.fields
        if one.message_type is not None and one.is_repeated and any(map(_is_request, one.message_type.fields))
    ]
    if not parts:
        return _namespace

    def of_all(request: Any) -> str:
        outer: str = request.namespace
        for name, kinds in parts:
            for part in getattr(request, name):
                for kind in kinds:
                    if part.HasField(kind) and getattr(part, kind).namespace != outer:
                        raise SeveralNamespaces
        return outer

    return of_all


def _namespace(request: Any) -> str:
    name: str = request.namespace
    return name


def _is_request(field: Any) -> bool:
    held = field.message_type
    return (
        held is not None
        and not field.is_repeated
        and held.name.endswith("Request")
        and "namespace" in held.fields_by_name
    )


_Step = Callable[[Any, Mapping[str, str]], bool]


class Renaming:
    """Writes namespaces' names anew, with steps compiled once for each type of message. For one thread."""

    def __init__(self) -> None:
        self._steps: dict[str, _Step | None] = {}
        self._names: dict[str, bool] = {}

    def of(self, descriptor: Descriptor) -> _Step | None:
        """From a message and new names by old to whether anything changed; None for types without such names."""
        name = descriptor.full_name
        if name not in self._steps:
            self._steps[name] = self._compiled(descriptor) if self._reaches(descriptor, set()) else None
        return self._steps[name]

    def _compiled(self, descriptor: Descriptor) -> _Step:
        steps: list[_Step] = []

        def walk(message: Any, names: Mapping[str, str]) -> bool:
            changed = False
            for step in steps:
                changed |= step(message, names)
            return changed

        # Known before its steps are, for types that hold themselves.
        self._steps[descriptor.full_name] = walk
        steps.extend(self._steps_of(descriptor))
        return walk

    def _steps_of(self, descriptor: Descriptor) -> Iterable[_Step]:
        for field in descriptor.fields:
            if _is_name(descriptor, field):
                yield _names_step(field.name) if field.is_repeated else _name_step(field.name)
                continue
            held = held_type(field)
            if held is None:
                continue
            step = self.of(held)
            if step is not None:
                yield _inner_step(field, step)

    def _reaches(self, descriptor: Descriptor, seen: set[str]) -> bool:
        name = descriptor.full_name
        if name in seen:
            return False
        seen.add(name)
        return any(
            _is_name(descriptor, field)
            or ((held := held_type(field)) is not None and self._reaches(held, seen))
            for field in descriptor.fields
        )


def _is_name(descriptor: Descriptor, field: Any) -> bool:
    if field.type != field.TYPE_STRING:
        return False
    return bool(field.name.endswith("namespace")) or (descriptor.full_name, field.name) in _NAMED_OTHERWISE


def _name_step(name: str) -> _Step:
    def step(message: Any, names: Mapping[str, str]) -> bool:
        new = names.get(getattr(message, name))
        if new is None:
            return False
        setattr(message, name, new)
        return True

    return step


def _names_step(name: str) -> _Step:
    def step(message: Any, names: Mapping[str, str]) -> bool:
        values = getattr(message, name)
        renamed = [names.get(value, value) for value in values]
        if renamed == list(values):
            return False
        values[:] = renamed
        return True

    return step


def _inner_step(field: Any, walk: _Step) -> _Step:
    name, of_map = field.name, is_map(field)

    def step(message: Any, names: Mapping[str, str]) -> bool:
        if field.is_repeated:
            items = getattr(message, name)
            changed = False
            for item in items.values() if of_map else items:
                changed |= walk(item, names)
            return changed
        return message.HasField(name) and walk(getattr(message, name), names)

    return step
