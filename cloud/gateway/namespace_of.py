"""Which namespace a request is about, read by accessors made once per request type from its descriptor.

All requests of namespace scope have a field `namespace`; that is the one which is authorised. Beside it:
- ExecuteMultiOperation holds whole requests, which must name the same namespace as the outer one.
- DescribeNamespace can name a namespace by `id` instead. Ids are not authorised, so tenants may not use it.
- Commands (child workflow, external signal, external cancel) may name another namespace. The engine refuses
  those, as it does task tokens of another namespace. Links and failure infos only tell of namespaces; nothing
  acts on them.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, ExecuteMultiOperationRequest

from cloud.rpc import InvalidArgument

NamespaceOf = Callable[[Any], str]


def namespace_accessor(request_type: type[Message]) -> NamespaceOf | None:
    """The accessor for `request_type`, None where its requests name no namespace.

    The accessor returns "" for a request that leaves it out, and raises InvalidArgument where the request's
    namespaces disagree.
    """
    if request_type is ExecuteMultiOperationRequest:
        return _of_multi_operation
    if request_type is DescribeNamespaceRequest:
        return _of_describe_namespace
    if "namespace" not in request_type.DESCRIPTOR.fields_by_name:
        return None
    return attrgetter("namespace")


def _of_multi_operation(request: ExecuteMultiOperationRequest) -> str:
    for index, operation in enumerate(request.operations):
        which = operation.WhichOneof("operation")
        if which is None:
            continue
        inner: str = getattr(operation, which).namespace
        if inner != request.namespace:
            raise InvalidArgument(
                f'operations[{index}].{which}.namespace is "{inner}" and the namespace of the whole is '
                f'"{request.namespace}"; all operations of one call are about one namespace.'
            )
    return request.namespace


def _of_describe_namespace(request: DescribeNamespaceRequest) -> str:
    # An id alone is for the development listener: elsewhere an empty namespace is refused, and both together
    # are refused here, because a cell that preferred the id would answer about a namespace that nobody
    # authorised.
    if request.id and request.namespace:
        raise InvalidArgument("The request names a namespace by name and by id; give the name alone.")
    return request.namespace
