"""Search attributes of a request against the namespace's types."""

from __future__ import annotations

from typing import cast

from google.protobuf.message import Message
from temporalio.api.common.v1 import SearchAttributes

from cloud.engine.core.errors import Invalid
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.store.search_attribute_values import SearchAttributeError, name_types, validate
from cloud.engine.store.visibility_attributes import AttributeTypes


def check_search_attributes(namespace: Namespace, attributes: Message) -> None:
    """Check names, types and sizes; an unset value ("remove") is always right.

    Values that came without their type get it in their metadata: readers of the history decode them by it.

    Raises:
        Invalid: with the real server's sentence.
    """
    assert isinstance(attributes, SearchAttributes)
    if not attributes.indexed_fields:
        return
    try:
        types = cast("AttributeTypes", namespace.search_attributes)
        validate(attributes, types, namespace=namespace.name)
        name_types(attributes, types)
    except SearchAttributeError as error:
        raise Invalid(str(error)) from None
