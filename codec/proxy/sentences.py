"""Messages and stack traces of failures: into `encoded_attributes` on the way to the service, and back.

The format is the SDKs' own (`encode_common_attributes`): message "Encoded failure", and a payload with the JSON object
{"message": ..., "stack_trace": ...}, which then goes through the codecs as any other. Queries' error messages stand
beside a failure that says the same, and Nexus failures carry a Failure in their details.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure

from codec.places import Place, Places
from codec.readable import FAILURE

ENCODED = "Encoded failure"


def hide(places: Places) -> None:
    """Put all sentences of a message into payloads, which are added to its `places`."""
    for place in places.sentences:
        _hide_beside_failure(place, places)
    for place in places.failures:
        failure = place.message
        if not _is_hidden(failure):
            _hide(failure, failure.message, failure.stack_trace, place, places)
            failure.message, failure.stack_trace = ENCODED, ""
    for place, inner in places.nexus_failures:
        _hide_nexus(place, inner, places)


def reveal(places: Places) -> None:
    """Put sentences back where they belong, once the payloads are decoded."""
    for place in places.failures:
        failure = place.message
        told = _told(failure)
        if told is not None:
            failure.message, failure.stack_trace = told
            failure.ClearField("encoded_attributes")
    for place, inner in places.nexus_failures:
        told = _told(inner) if inner is not None else None
        if told is not None and inner is not None:
            place.message.message, place.message.stack_trace = told
            inner.ClearField("encoded_attributes")
    for place in places.sentences:
        message, name = place.message, place.name
        assert name is not None
        if getattr(message, name) == ENCODED and message.HasField("failure"):
            setattr(message, name, message.failure.message)


def readable(places: Places) -> Place | None:
    """The first sentence that anybody can read; None if there is none."""
    for place in (*places.failures, *(nexus for nexus, _ in places.nexus_failures)):
        if place.message.message not in ("", ENCODED):
            return Place(place.message, place.where, "message")
        if place.message.stack_trace:
            return Place(place.message, place.where, "stack_trace")
    for place in places.sentences:
        if place.name is not None and getattr(place.message, place.name) not in ("", ENCODED):
            return place
    return None


def withhold(places: Places) -> None:
    """Blank all sentences of a message, for who can't encode them now."""
    for place in (*places.failures, *(nexus for nexus, _ in places.nexus_failures)):
        place.message.message, place.message.stack_trace = ENCODED, ""
    for place in places.failures:
        place.message.ClearField("encoded_attributes")
    for place, inner in places.nexus_failures:
        if inner is not None:
            place.message.ClearField("details")
            place.message.ClearField("metadata")
    for place in places.sentences:
        if place.name is not None:
            setattr(place.message, place.name, ENCODED)


def _hide_beside_failure(place: Place, places: Places) -> None:
    message, name = place.message, place.name
    assert name is not None
    sentence = getattr(message, name)
    if sentence == ENCODED:
        return
    if not message.HasField("failure"):
        # SDKs of before that field say it in the string alone.
        message.failure.message = sentence
        message.failure.application_failure_info.SetInParent()
        places.failures.append(Place(message.failure, (place.where, "failure", None, message)))
    setattr(message, name, ENCODED)


def _hide(failure: Failure, sentence: str, stack_trace: str, place: Place, places: Places) -> None:
    """Put both into the failure's attributes."""
    known = failure.HasField("encoded_attributes")
    attributes = {"message": sentence, "stack_trace": stack_trace}
    failure.encoded_attributes.CopyFrom(
        Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(attributes).encode())
    )
    if not known:
        places.payloads.append(
            Place(failure.encoded_attributes, (place.where, "encoded_attributes", None, failure))
        )


def _is_hidden(failure: Failure | NexusFailure) -> bool:
    return failure.message in ("", ENCODED) and not failure.stack_trace


def _hide_nexus(place: Place, inner: Failure | None, places: Places) -> None:
    failure: NexusFailure = place.message
    if _is_hidden(failure) and (not failure.details if inner is None else _is_hidden(inner)):
        return
    if inner is None:
        inner = _as_failure(failure)
        made = inner

        def write() -> None:
            failure.details = json_format.MessageToJson(made, indent=None).encode()

        places.packed(write, made)
        details = (place.where, "details", None, failure)
        for index, payload in enumerate(made.application_failure_info.details.payloads):
            places.payloads.append(
                Place(payload, (details, "application_failure_info.details.payloads", index, made))
            )
        failure.metadata.clear()
        failure.metadata["type"] = FAILURE
    _hide(
        inner,
        failure.message or inner.message,
        failure.stack_trace or inner.stack_trace,
        Place(inner, (place.where, "details", None, failure)),
        places,
    )
    inner.message = inner.stack_trace = ""
    failure.message, failure.stack_trace = ENCODED, ""


def _as_failure(failure: NexusFailure) -> Failure:
    """What SDKs make of a Nexus failure that does not come from Temporal: its details become a payload."""
    made = Failure()
    made.application_failure_info.type = "NexusFailure"
    if failure.details or failure.metadata:
        try:
            details: Any = json.loads(failure.details) if failure.details else None
        except ValueError:
            details = failure.details.decode(errors="replace")
        kept = {"message": "", "metadata": dict(failure.metadata), "details": details}
        made.application_failure_info.details.payloads.add(
            metadata={"encoding": b"json/plain"}, data=json.dumps(kept).encode()
        )
    return made


def _told(failure: Failure) -> tuple[str, str] | None:
    """Message and stack trace out of the attributes; None if they are not there, or still encoded."""
    if not failure.HasField("encoded_attributes"):
        return None
    payload = failure.encoded_attributes
    if payload.metadata.get("encoding") != b"json/plain":
        return None
    try:
        told = json.loads(payload.data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        return None
    stack_trace = told.get("stack_trace", "")
    return told["message"], stack_trace if isinstance(stack_trace, str) else ""
