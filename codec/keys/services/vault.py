"""HashiCorp Vault's Transit engine, and OpenBao's: data keys made here, wrapped by encrypt, unwrapped by decrypt.

The wrapped key is Transit's `vault:vN:…`, which names its key version itself: rotation keeps older ones readable as long as
min_decryption_version allows. Its associated data is `tacit data key\\0` and the binding, so the key must be of an AEAD type
(aes256-gcm96, Transit's default, or chacha20-poly1305).

Settings: `address` (else VAULT_ADDR), `namespace` (else VAULT_NAMESPACE), `ca-file` (else VAULT_CACERT), `token-file` (else
VAULT_TOKEN, else ~/.vault-token). A token file is read on each call, so that Vault Agent may renew it by any method of
authentication. Rights: update on MOUNT/encrypt/NAME and MOUNT/decrypt/NAME.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from codec.errors import (
    InvalidPayload,
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceNotAsked,
    KeyServiceUnavailable,
)
from codec.keys.ring import KEY_BYTES, KeyMaterial
from codec.keys.service import ATTEMPT_SECONDS
from codec.keys.services.client import BlockingClient, only, require

T = TypeVar("T")

_WHAT = "Vault's Transit engine"
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._/-]{0,200})/([A-Za-z0-9][A-Za-z0-9._-]{0,100})")
_CIPHERTEXT = re.compile(r"vault:v[0-9]{1,9}:[A-Za-z0-9+/=]+")
# What Transit answers with status 400 where the wrapped key is at fault, and not the request for it.
_ALTERED = (
    "invalid ciphertext",
    "message authentication failed",
    "could not decode",
    "no prefix",
    "invalid key version",
)
_TOO_OLD = "disallowed by policy"


class VaultTransit:
    """A key of a Transit engine."""

    def __init__(self, name: str, *, client: Callable[[], Any], token: Callable[[], str | None]) -> None:
        found = _NAME.fullmatch(name)
        if found is None:
            raise KeyServiceError(
                f"{name[:120]!r} names no key of {_WHAT}: use MOUNT/NAME, as in vault-transit:transit/orders."
            )
        self._mount, self._name = found[1], found[2]
        self._key_id = f"vault-transit:{name}"
        self._client = BlockingClient(client, name="vault-transit")
        self._token = token

    @classmethod
    def opened(cls, name: str, settings: Mapping[str, str]) -> VaultTransit:
        """`name` is MOUNT/NAME.

        Raises:
            KeyServiceError: hvac is not installed, a malformed name, an unknown setting, or no address.
        """
        only(settings, {"address", "namespace", "ca-file", "token-file"}, what=_WHAT)
        require("hvac", extra="vault", what=_WHAT)
        address = settings.get("address") or os.environ.get("VAULT_ADDR")
        if not address or not address.startswith(("http://", "https://")):
            raise KeyServiceError(
                f"{_WHAT} has no address: set VAULT_ADDR, or put ?address=https://… behind the key's name."
            )

        def make() -> Any:
            import hvac

            return hvac.Client(
                url=address,
                namespace=settings.get("namespace") or os.environ.get("VAULT_NAMESPACE"),
                verify=settings.get("ca-file") or os.environ.get("VAULT_CACERT") or True,
                timeout=ATTEMPT_SECONDS,
                allow_redirects=False,
                token="",
            )

        return cls(name, client=make, token=_token_source(settings.get("token-file")))

    @property
    def key_id(self) -> str:
        """`vault-transit:` and MOUNT/NAME."""
        return self._key_id

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        """See `KeyService`."""
        secret = secrets.token_bytes(KEY_BYTES)

        def call(client: Any) -> str:
            answer = client.secrets.transit.encrypt_data(
                self._name,
                plaintext=base64.b64encode(secret).decode(),
                associated_data=_associated(binding),
                mount_point=self._mount,
            )
            return str(answer["data"]["ciphertext"])

        wrapped = await self._call(call, unwrapping=False)
        if not _CIPHERTEXT.fullmatch(wrapped):
            raise KeyServiceError(f"The key service {self._key_id} answers with no ciphertext of Transit's.")
        return KeyMaterial(secret), wrapped.encode()

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        """See `KeyService`."""
        text = wrapped.decode("ascii", errors="replace")
        if not _CIPHERTEXT.fullmatch(text):
            raise self._altered()

        def call(client: Any) -> bytes:
            answer = client.secrets.transit.decrypt_data(
                self._name,
                ciphertext=text,
                associated_data=_associated(binding),
                mount_point=self._mount,
            )
            return base64.b64decode(answer["data"]["plaintext"], validate=True)

        try:
            secret = await self._call(call, unwrapping=True)
        except binascii.Error:
            raise KeyServiceError(f"The key service {self._key_id} answers with no base64.") from None
        if len(secret) != KEY_BYTES:
            raise InvalidPayload(f"What {self._key_id} unwrapped is no 256-bit data key.")
        return KeyMaterial(secret)

    async def _call(self, call: Callable[[Any], T], *, unwrapping: bool) -> T:
        def with_token(client: Any) -> T:
            token = self._token()
            if not token:
                raise KeyServiceNotAsked(
                    self._key_id,
                    "there is no token; set VAULT_TOKEN, name a file (?token-file=FILE in its URL), or sign in (`vault login`, "
                    "which writes ~/.vault-token)",
                )
            if client.token != token:
                client.token = token
            return call(client)

        try:
            return await self._client.run(with_token)
        except Exception as error:
            raise self._fault(error, unwrapping=unwrapping) from None

    def _fault(self, error: Exception, *, unwrapping: bool) -> Exception:
        import requests
        from hvac import exceptions as hvac

        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema):
            return KeyServiceError(f"The address of the key service {self._key_id} is no URL.")
        if isinstance(error, requests.exceptions.SSLError):
            return KeyServiceDenied(self._key_id, "its TLS certificate is not trusted; see ca-file")
        if isinstance(error, requests.exceptions.RequestException):
            return KeyServiceUnavailable(self._key_id, f"can't be reached ({type(error).__name__})")
        if isinstance(
            error, hvac.InternalServerError | hvac.RateLimitExceeded | hvac.VaultDown | hvac.BadGateway
        ):
            return KeyServiceUnavailable(self._key_id, f"can't answer now ({type(error).__name__})")
        if isinstance(error, hvac.InvalidRequest):
            # Looked at, never shown.
            said = str(error)
            if _TOO_OLD in said:
                return KeyServiceDenied(
                    self._key_id, "that version of the key is below min_decryption_version"
                )
            if unwrapping and any(one in said for one in _ALTERED):
                return self._altered()
            return KeyServiceDenied(
                self._key_id, "InvalidRequest: no such key, or one that can't encrypt with associated data"
            )
        if isinstance(error, hvac.VaultError):
            return KeyServiceDenied(self._key_id, type(error).__name__)
        return error

    def _altered(self) -> InvalidPayload:
        return InvalidPayload(
            f"The payload's data key was not wrapped by {self._key_id} for this binding: it was altered, or belongs "
            "to another key or binding."
        )


def _associated(binding: str) -> str:
    return base64.b64encode(b"tacit data key\0" + binding.encode()).decode()


def _token_source(chosen: str | None) -> Callable[[], str | None]:
    def token() -> str | None:
        if chosen is None and (given := os.environ.get("VAULT_TOKEN")):
            return given
        path = Path(chosen).expanduser() if chosen else Path.home() / ".vault-token"
        try:
            return path.read_text().strip()
        except OSError:
            return None

    return token
