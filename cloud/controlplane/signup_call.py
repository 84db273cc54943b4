"""The call of signup: ``/tacit.signup.v1.SignupService/Signup``. The official CloudService has none.

It takes and gives a ``google.protobuf.Struct``, so it needs no proto of its own:

    request   {email, display_name, token}     `token` the operator's, where the policy asks for it
    response  {account_id, user_id, api_key_id, api_key, api_key_expires_at}     the time in RFC 3339, UTC

Keys may be added to both; an unknown one is ignored. The request carries a secret, and so does the response.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from google.protobuf.struct_pb2 import Struct

from cloud.rpc import Method

SERVICE = "tacit.signup.v1.SignupService"
SIGNUP_METHOD = Method(
    service=SERVICE,
    name="Signup",
    path=f"/{SERVICE}/Signup",
    request_type=Struct,
    response_type=Struct,
)
"""Served where API keys are taken, without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """What signup answers. Its repr leaves the API key out."""

    account_id: str
    user_id: str
    api_key_id: str
    api_key: str
    api_key_expires_at: datetime

    def __repr__(self) -> str:
        return f"NewAccount(account_id={self.account_id!r}, api_key_id={self.api_key_id!r})"


def encode_request(*, email: str, display_name: str, token: str) -> Struct:
    """A request for an account."""
    request = Struct()
    request.update({"email": email, "display_name": display_name, "token": token})
    return request


def text_of(message: Struct, key: str) -> str:
    """A text field; empty where it is missing or something else."""
    return message.fields[key].string_value if key in message.fields else ""


def encode_response(account: NewAccount) -> Struct:
    """The response of a signup that worked."""
    response = Struct()
    response.update(
        {
            "account_id": account.account_id,
            "user_id": account.user_id,
            "api_key_id": account.api_key_id,
            "api_key": account.api_key,
            "api_key_expires_at": account.api_key_expires_at.isoformat(),
        }
    )
    return response


def decode_response(response: Struct) -> NewAccount:
    """What a response says.

    Raises:
        ValueError: it is not of the form that this module writes.
    """
    account = NewAccount(
        account_id=text_of(response, "account_id"),
        user_id=text_of(response, "user_id"),
        api_key_id=text_of(response, "api_key_id"),
        api_key=text_of(response, "api_key"),
        api_key_expires_at=datetime.fromisoformat(text_of(response, "api_key_expires_at")),
    )
    if not (account.account_id and account.api_key):
        raise ValueError("the answer to the signup has no account")
    return account
