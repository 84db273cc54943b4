"""Signup: an account, its owner and a first API key for somebody who has none of them yet.

It is the one call without a credential, so it is the one to guard: by policy (open, with the operator's token,
closed) and by a rate, per address and for all. That an e-mail is its owner's is not proven here.
"""

from __future__ import annotations

import enum
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import structlog
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from cloud.controlplane.refusals import refusals
from cloud.controlplane.signup_call import SIGNUP_METHOD, NewAccount, encode_response, text_of
from cloud.rpc import CallContext, PermissionDenied, ResourceExhausted
from tenancy.service import Tenancy

__all__ = ["SIGNUP_METHOD", "Signup", "SignupPolicy", "load_or_create_signup_token"]

# Several people behind one address sign up in a row; nobody signs up more often than this for long.
ATTEMPTS_PER_PEER_BURST = 5
ATTEMPTS_PER_PEER_PER_SECOND = 1 / 12
ATTEMPTS_BURST = 60
ATTEMPTS_PER_SECOND = 1.0
PEERS_REMEMBERED = 10_000

_log = structlog.get_logger(__name__)


class SignupPolicy(enum.Enum):
    """Who may sign up. The values are the setting's."""

    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - a policy's name
    CLOSED = "closed"


class Signup:
    """Answers the signup call. `token` is needed with the policy TOKEN; `clock` is monotonic, in seconds."""

    def __init__(
        self, tenancy: Tenancy, policy: SignupPolicy, *, token: str = "", clock: Callable[[], float]
    ) -> None:
        if policy is SignupPolicy.TOKEN and not token:
            raise ValueError("signup by token needs a token")
        self._tenancy = tenancy
        self._policy = policy
        self._token = token
        self._clock = clock
        self._all = _Bucket(ATTEMPTS_BURST, ATTEMPTS_PER_SECOND, clock())
        self._peers: dict[str, _Bucket] = {}

    async def handle(self, request: Message, context: CallContext) -> Message:
        """The handler of SIGNUP_METHOD.

        Raises:
            PermissionDenied: signup is closed, or the token is missing or wrong.
            ResourceExhausted: too many attempts.
            InvalidArgument: the e-mail or the name won't do.
        """
        if not isinstance(request, Struct):
            raise TypeError(f"Signup takes a Struct, not a {type(request).__name__}")
        self._take(context.peer)
        self._admit(text_of(request, "token"))
        with refusals():
            email = text_of(request, "email")
            display_name = text_of(request, "display_name") or email.partition("@")[0]
            made = await self._tenancy.sign_up(email, display_name)
        _log.info("controlplane.signed_up", account_id=made.account.id)
        return encode_response(
            NewAccount(
                account_id=made.account.id,
                user_id=made.user.id,
                api_key_id=made.api_key_id,
                api_key=made.api_key,
                api_key_expires_at=made.api_key_expires_at,
            )
        )

    def _admit(self, token: str) -> None:
        if self._policy is SignupPolicy.CLOSED:
            raise PermissionDenied("Signup is closed here; ask the operator for an account.")
        if self._policy is not SignupPolicy.TOKEN:
            return
        if not token:
            raise PermissionDenied(
                "Signup needs the operator's token: give it with --token-file or in TACIT_SIGNUP_TOKEN."
            )
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            raise PermissionDenied(
                "The signup token that was given is not accepted: it is cut, out of date or another service's. "
                "Ask the operator for the present one (the file signup-token in the service's data directory), "
                "and give it with --token-file or in TACIT_SIGNUP_TOKEN."
            )

    def _take(self, peer: str) -> None:
        now = self._clock()
        # The port differs with each connection; the address is what stays.
        address = peer.rpartition(":")[0] or peer
        bucket = self._peers.get(address)
        if bucket is None:
            if len(self._peers) >= PEERS_REMEMBERED:
                self._peers = {known: one for known, one in self._peers.items() if not one.is_full(now)}
            if len(self._peers) >= PEERS_REMEMBERED:
                raise ResourceExhausted("Too many signups from everywhere; try again in a few minutes.")
            bucket = self._peers[address] = _Bucket(
                ATTEMPTS_PER_PEER_BURST, ATTEMPTS_PER_PEER_PER_SECOND, now
            )
        if not bucket.take(now) or not self._all.take(now):
            raise ResourceExhausted("Too many attempts to sign up; try again in a minute.")


class _Bucket:
    """A token bucket."""

    __slots__ = ("_burst", "_level", "_rate", "_seen")

    def __init__(self, burst: int, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._level = float(burst)
        self._seen = now

    def take(self, now: float) -> bool:
        self._fill(now)
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def is_full(self, now: float) -> bool:
        self._fill(now)
        return self._level >= self._burst

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._seen) * self._rate)
        self._seen = now


def load_or_create_signup_token(path: Path) -> str:
    """The operator's signup token in `path` (mode 0600), made on the first call.

    Raises:
        PermissionError: others can read the file.
        ValueError: the file is empty.
        OSError: it can't be read or made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
            # A link fails if the name is taken: of two processes that start at once, the first one's token stands.
            if not path.exists():
                path.hardlink_to(draft)
        except FileExistsError:
            _log.info("controlplane.signup_token_made_elsewhere", path=str(path))
        finally:
            draft.unlink(missing_ok=True)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError(f"{path}: others may read the signup token; run: chmod 600 {path}")
    token = path.read_text(encoding="ascii").strip()
    if not token:
        raise ValueError(f"{path}: the signup token is empty; delete the file to have a new one made")
    return token
