"""codec/coverage.toml says of every field that can hold what users wrote what becomes of it, and forgets none."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import temporalio.api
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

import codec
from codec import readable
from codec.walk import Walkers
from tests.processes import ROOT

GROUPS: list[dict[str, Any]] = tomllib.loads((ROOT / "codec" / "coverage.toml").read_text())["group"]
HOW = {"encrypted", "carried", "by-hand", "readable", "service"}

# A field of one of these types can hold what users wrote; a message that has such a field is no row by that alone.
HOLDERS = {
    "google.protobuf.Any",
    "temporal.api.common.v1.DataBlob",
    "temporal.api.common.v1.Header",
    "temporal.api.common.v1.Memo",
    "temporal.api.common.v1.Payload",
    "temporal.api.common.v1.Payloads",
    "temporal.api.common.v1.SearchAttributes",
    "temporal.api.failure.v1.Failure",
    "temporal.api.nexus.v1.Failure",
    "temporal.api.sdk.v1.UserMetadata",
}


def messages() -> Iterator[Descriptor]:
    """Every message of every service, cloud included."""
    for module in pkgutil.walk_packages(temporalio.api.__path__, "temporalio.api."):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(module.name).DESCRIPTOR
            yield from (one for top in file.message_types_by_name.values() for one in with_nested(top))


def with_nested(message: Descriptor) -> Iterator[Descriptor]:
    if not message.GetOptions().map_entry:
        yield message
        for nested in message.nested_types:
            yield from with_nested(nested)


def held(field: FieldDescriptor) -> str | None:
    """What type a field holds, behind a map too."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        kind = kind.fields_by_name["value"].message_type
    return None if kind is None else str(kind.full_name)


FIELDS = {
    f"{message.full_name}.{field.name}": field
    for message in messages()
    for field in message.fields
    if held(field) in HOLDERS or field.name in readable.SENTENCES.get(message.full_name, ())
}
ROWS = {field: group["how"] for group in GROUPS for field in group["fields"]}


def test_every_field_has_its_row() -> None:
    assert len(FIELDS) > 200
    assert sorted(FIELDS.keys() - ROWS.keys()) == [], "say in codec/coverage.toml what becomes of these"
    assert sorted(ROWS.keys() - FIELDS.keys()) == [], "the protocol has no such fields any more"


def test_no_field_has_two() -> None:
    fields = [field for group in GROUPS for field in group["fields"]]
    assert len(fields) == len(set(fields))


def test_every_group_says_how_and_why() -> None:
    assert all(group["how"] in HOW and group["why"] for group in GROUPS)
    assert {group["how"] for group in GROUPS} == HOW


def test_payloads_are_among_the_holders() -> None:
    """A new message that only wraps payloads has rows of its own; one that hides them from reflection would not."""
    assert "temporal.api.common.v1.Payloads.payloads" in FIELDS
    assert "temporal.api.protocol.v1.Message.body" in FIELDS


def filled(name: str) -> Message:
    """A message with something a user wrote in that field."""
    field = FIELDS[name]
    message = GetMessageClass(field.containing_type)()
    value: Any = getattr(message, field.name)
    if field.message_type is None:
        setattr(message, field.name, "secret")
        return message
    kind = held(field)
    if field.message_type.GetOptions().map_entry:
        value = value["key"]
    elif field.is_repeated:
        value = value.add()
    match kind:
        case "temporal.api.common.v1.Payload":
            value.data = b"secret"
        case "temporal.api.common.v1.Payloads":
            value.payloads.add().data = b"secret"
        case "temporal.api.common.v1.Header" | "temporal.api.common.v1.Memo":
            value.fields["key"].data = b"secret"
        case "temporal.api.common.v1.SearchAttributes":
            value.indexed_fields["key"].data = b"secret"
        case "temporal.api.sdk.v1.UserMetadata":
            value.summary.data = b"secret"
        case "temporal.api.failure.v1.Failure" | "temporal.api.nexus.v1.Failure":
            value.message = "secret"
        case _:
            pytest.skip("packed: tests/codec/test_walk.py has these")
    return message


@pytest.mark.parametrize(
    "name", [name for name, how in ROWS.items() if how in ("encrypted", "carried", "by-hand")]
)
def test_what_may_hold_ciphertext_is_found_by_the_walkers(name: str) -> None:
    """So that the sidecar and the guard see it, too."""
    message = filled(name)
    walk = Walkers().of(message.DESCRIPTOR)
    assert walk is not None
    places = walk(message)
    assert places.payloads or places.failures or places.nexus_failures or places.sentences


@pytest.mark.parametrize(
    "name", [field for group in GROUPS if group["how"] == "readable" for field in group["fields"]]
)
def test_what_is_readable_by_design_is_left_alone_unless_it_may_be_hidden(name: str) -> None:
    message = filled(name)
    walk = Walkers().of(message.DESCRIPTOR)
    found = walk is not None and bool(walk(message).payloads)
    [group] = [group for group in GROUPS if name in group["fields"]]
    assert found == ("the sidecar does" in group["why"])


async def test_a_failure_has_its_message_and_trace_encrypted() -> None:
    """The rows that no payload stands in: sentences."""
    import sdk

    options = sdk.DataConverterOptions(namespace="a", key_ring=codec.KeyRing.create("a"))
    failure = Failure()
    with pytest.raises(ValueError, match="secret") as caught:
        int("secret")
    await sdk.data_converter(options).encode_failure(caught.value, failure)
    assert failure.message == "Encoded failure"
    assert failure.stack_trace == ""
    assert codec.is_encrypted(failure.encoded_attributes)
    assert b"secret" not in failure.SerializeToString()
    assert isinstance(failure.encoded_attributes, Payload)
