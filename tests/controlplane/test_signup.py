"""Signup: by policy, by rate, and with nothing secret left behind."""

import stat
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct

from cloud.controlplane import signup
from cloud.controlplane.signup import Signup, SignupPolicy, load_or_create_signup_token
from cloud.controlplane.signup_call import decode_response, encode_request
from cloud.rpc import CallContext, Caller, CallerKind, InvalidArgument, PermissionDenied, ResourceExhausted

from .conftest import NOW, Plane


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def context(peer: str = "ipv4:192.0.2.1:40000") -> CallContext:
    return CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="nobody"), peer=peer)


def request(token: str = "", email: str = "ada@example.com", name: str = "Ada & Co") -> Struct:
    return encode_request(email=email, display_name=name, token=token)


async def test_an_account_with_its_owners_key(plane: Plane) -> None:
    service = Signup(plane.tenancy, SignupPolicy.OPEN, clock=Ticks())
    answer = await service.handle(request(), context())
    assert isinstance(answer, Struct)
    account = decode_response(answer)
    principal = plane.tenancy.directory.authenticate_api_key(account.api_key, NOW)
    assert principal.account_id == account.account_id
    assert principal.credential_id == account.api_key_id
    assert 5 <= len(account.account_id) <= 16
    assert account.api_key not in repr(account)


@pytest.mark.parametrize(
    ("policy", "token", "said"),
    [
        (SignupPolicy.CLOSED, "right", "Signup is closed here"),
        (SignupPolicy.TOKEN, "", "needs the operator's token"),
        (SignupPolicy.TOKEN, "wrong", "given is not accepted.*Ask the operator for the present one"),
        (SignupPolicy.TOKEN, "righ", "given is not accepted"),
        (SignupPolicy.TOKEN, "ríght", "given is not accepted"),
    ],
)
async def test_refused_by_policy(plane: Plane, policy: SignupPolicy, token: str, said: str) -> None:
    service = Signup(plane.tenancy, policy, token="right", clock=Ticks())
    with pytest.raises(PermissionDenied, match=said) as refusal:
        await service.handle(request(token), context())
    assert "right" not in refusal.value.message
    assert not token or token not in refusal.value.message
    assert plane.tenancy.directory.version == 0


async def test_let_in_by_token(plane: Plane) -> None:
    service = Signup(plane.tenancy, SignupPolicy.TOKEN, token="right", clock=Ticks())
    assert await service.handle(request("right"), context())


def test_a_token_is_needed_for_the_policy(plane: Plane) -> None:
    with pytest.raises(ValueError, match="token"):
        Signup(plane.tenancy, SignupPolicy.TOKEN, clock=Ticks())


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@x.y", "a b@x.yz", "a@b", "a" * 300 + "@x.yz", "a@x..y"]
)
async def test_a_bad_email_is_refused(plane: Plane, email: str) -> None:
    service = Signup(plane.tenancy, SignupPolicy.OPEN, clock=Ticks())
    with pytest.raises(InvalidArgument, match="email"):
        await service.handle(request(email=email), context())


async def test_odd_messages_are_refused(plane: Plane) -> None:
    service = Signup(plane.tenancy, SignupPolicy.OPEN, clock=Ticks())
    odd = Struct()
    odd.update({"email": ["ada@example.com"], "display_name": 7})
    with pytest.raises(InvalidArgument):
        await service.handle(odd, context())


async def test_attempts_are_bounded_per_address_whatever_the_port(plane: Plane) -> None:
    ticks = Ticks()
    service = Signup(plane.tenancy, SignupPolicy.CLOSED, clock=ticks)
    for number in range(signup.ATTEMPTS_PER_PEER_BURST):
        with pytest.raises(PermissionDenied):
            await service.handle(request(), context(f"ipv4:192.0.2.1:{number}"))
    with pytest.raises(ResourceExhausted):
        await service.handle(request(), context("ipv4:192.0.2.1:999"))
    with pytest.raises(PermissionDenied):
        await service.handle(request(), context("ipv4:192.0.2.2:1"))
    ticks.now += 1 / signup.ATTEMPTS_PER_PEER_PER_SECOND
    with pytest.raises(PermissionDenied):
        await service.handle(request(), context())


async def test_attempts_are_bounded_for_all_together(plane: Plane) -> None:
    service = Signup(plane.tenancy, SignupPolicy.CLOSED, clock=Ticks())
    refused = set()
    for number in range(signup.ATTEMPTS_BURST + 1):
        with pytest.raises((PermissionDenied, ResourceExhausted)) as refusal:
            await service.handle(request(), context(f"ipv4:198.51.100.{number}:1"))
        refused.add(refusal.type)
    assert refused == {PermissionDenied, ResourceExhausted}


async def test_addresses_are_forgotten_when_they_rest(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signup, "PEERS_REMEMBERED", 2)
    ticks = Ticks()
    service = Signup(plane.tenancy, SignupPolicy.CLOSED, clock=ticks)
    for number in range(2):
        with pytest.raises(PermissionDenied):
            await service.handle(request(), context(f"ipv4:198.51.100.{number}:1"))
    with pytest.raises(ResourceExhausted):
        await service.handle(request(), context("ipv4:198.51.100.9:1"))
    ticks.now += 3600
    with pytest.raises(PermissionDenied):
        await service.handle(request(), context("ipv4:198.51.100.9:1"))


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "signup-token"
    token = load_or_create_signup_token(path)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_signup_token(path) == token
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        load_or_create_signup_token(path)


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signup-token"
    path.touch(mode=0o600)
    with pytest.raises(ValueError, match="empty"):
        load_or_create_signup_token(path)
