"""One call of the control plane: who makes it, and the operation that it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from cloud.rpc import (
    ACCOUNT_HEADER,
    CREDENTIAL_HEADER,
    PRINCIPAL_KIND_HEADER,
    CallContext,
    CallerKind,
    PermissionDenied,
)
from tenancy.access import Principal, PrincipalKind
from tenancy.model import OperationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The surroundings of one call."""

    principal: Principal
    context: CallContext


def call_of(context: CallContext) -> Call:
    """The call with its principal.

    Raises:
        PermissionDenied: the caller has no account: it came without an API key.
    """
    account_id = context.metadata.get(ACCOUNT_HEADER, "")
    if context.caller.kind is not CallerKind.API_KEY or not account_id:
        raise PermissionDenied("Accounts are managed with an API key; call the API-key endpoint with one.")
    principal = Principal(
        kind=PrincipalKind(context.metadata[PRINCIPAL_KIND_HEADER]),
        id=context.caller.id,
        account_id=account_id,
        credential_id=context.metadata.get(CREDENTIAL_HEADER, ""),
    )
    return Call(principal=principal, context=context)


def operation_request(kind: str, request: Message, operation_id: str) -> OperationRequest:
    """The operation that a request asks for; a repetition of it is recognised by these very bytes."""
    return OperationRequest(
        id=operation_id,
        type=kind,
        input_type=f"type.googleapis.com/{request.DESCRIPTOR.full_name}",
        input=request.SerializeToString(deterministic=True),
    )
