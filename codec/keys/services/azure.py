"""Azure Key Vault and Managed HSM: data keys made here, wrapped and unwrapped by the vault's key.

Key Vault does not say in what it wraps which version of the key it used, so our wrapped key does (version 1)::

    0x01 | length of the key version (1 byte) | key version (ASCII) | wrapped key

A wrapped key is always unwrapped with the version that it names, so rotation keeps older ones readable as long as their
versions are enabled. It may grow by another first byte; readers refuse those they do not know.

RSA-OAEP-256 by default. It has no associated data, and whoever knows the public key can wrap with it: a payload's binding is
authenticated by the payload itself, and the public key should be read by your own clients only. A Managed HSM's symmetric
key (`algorithm=A256KW`) has no such half to give away.

Settings: `algorithm`. Credentials: azure-identity's DefaultAzureCredential. Rights: get, wrapKey, unwrapKey on the key.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Mapping
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

_WHAT = "Azure Key Vault"
_FORMAT = 1
_ALGORITHM = "RSA-OAEP-256"
_ALGORITHMS = frozenset({"RSA-OAEP-256", "RSA-OAEP", "A256KW", "A192KW", "A128KW"})
_URL = re.compile(r"(https://[A-Za-z0-9.-]+(?::[0-9]+)?)/keys/([A-Za-z0-9-]+)(?:/([A-Za-z0-9]+))?/?")
_VERSION = re.compile(rb"[A-Za-z0-9]{1,64}")
_VERSIONS_MAX = 100
"""Clients for so many versions of the key are kept."""


class AzureKeyVault:
    """A key of Azure Key Vault or of a Managed HSM."""

    def __init__(
        self,
        url: str,
        *,
        key_id: str,
        client: Callable[[str], Any],
        algorithm: str = _ALGORITHM,
        foreign: bool = False,
    ) -> None:
        found = _URL.fullmatch(url)
        if found is None or (found[3] and not foreign):
            raise KeyServiceError(
                f"{url[:120]!r} names no key of {_WHAT}: use https://VAULT.vault.azure.net/keys/NAME, without a version."
            )
        if algorithm not in _ALGORITHMS:
            raise KeyServiceError(
                f"{_WHAT} wraps by no algorithm {algorithm[:40]!r} here; there are: {', '.join(sorted(_ALGORITHMS))}."
            )
        vault, self._name, self._pinned = found[1], found[2], found[3]
        self._key_id = key_id
        self._algorithm = algorithm
        self._foreign = foreign
        self._client = BlockingClient(lambda: client(vault), name="azure-key-vault")
        self._lock = threading.Lock()
        self._versions: dict[str | None, Any] = {}

    @classmethod
    def opened(cls, name: str, settings: Mapping[str, str]) -> AzureKeyVault:
        """`name` is the key's URL, without version.

        Raises:
            KeyServiceError: the client library is not installed, a malformed URL, or an unknown setting.
        """
        only(settings, {"algorithm"}, what=_WHAT)
        _require()
        return cls(
            name,
            key_id=f"azure-key-vault:{name}",
            client=_client,
            algorithm=settings.get("algorithm", _ALGORITHM),
        )

    @classmethod
    def of_temporal_proxy(cls, url: str, name: str, settings: Mapping[str, str]) -> AzureKeyVault:
        """A key as temporal-proxy uses it: what it wraps does not say by which version, so the newest is asked, or the one
        that the URL names.

        Raises:
            KeyServiceError: the client library is not installed, a malformed URL, or an unknown setting.
        """
        only(settings, {"algorithm"}, what=_WHAT)
        _require()
        algorithm = settings.get("algorithm", _ALGORITHM)
        return cls(f"https://{name}", key_id=url, client=_client, algorithm=algorithm, foreign=True)

    @property
    def key_id(self) -> str:
        """`azure-key-vault:` and the key's URL."""
        return self._key_id

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        """See `KeyService`; always by the newest version of the key."""
        secret = secrets.token_bytes(KEY_BYTES)

        def call(keys: Any) -> tuple[str, bytes]:
            version = keys.get_key(self._name, self._pinned, timeout=ATTEMPT_SECONDS).properties.version
            return version, self._version(keys, version).wrap_key(self._algorithm, secret).encrypted_key

        version, wrapped = await self._call(call, unwrapping=False)
        if self._foreign:
            return KeyMaterial(secret), wrapped
        label = version.encode()
        if not _VERSION.fullmatch(label):
            raise KeyServiceError(f"The key service {self._key_id} has a key version of an unknown form.")
        return KeyMaterial(secret), bytes([_FORMAT, len(label)]) + label + wrapped

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        """See `KeyService`."""
        version, inner = (self._pinned, wrapped) if self._foreign else _parsed(wrapped)

        def call(keys: Any) -> bytes:
            return bytes(self._version(keys, version).unwrap_key(self._algorithm, inner).key)

        secret = await self._call(call, unwrapping=True)
        if len(secret) != KEY_BYTES:
            raise InvalidPayload(f"What {self._key_id} unwrapped is no 256-bit data key.")
        return KeyMaterial(secret)

    def _version(self, keys: Any, version: str | None) -> Any:
        """A client for one version of the key; made once, as making it asks for the public key."""
        with self._lock:
            found = self._versions.get(version)
            if found is None:
                if len(self._versions) >= _VERSIONS_MAX:
                    # Payloads name versions, and may be anyone's.
                    self._versions.clear()
                found = self._versions[version] = keys.get_cryptography_client(
                    self._name, key_version=version
                )
            return found

    async def _call(self, call: Callable[[Any], T], *, unwrapping: bool) -> T:
        try:
            return await self._client.run(call)
        except Exception as error:
            raise self._fault(error, unwrapping=unwrapping) from None

    def _fault(self, error: Exception, *, unwrapping: bool) -> Exception:
        from azure.core import exceptions as azure

        if isinstance(error, azure.ClientAuthenticationError) and error.response is None:
            return KeyServiceNotAsked(
                self._key_id,
                "there are no valid credentials; run `az login`, set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
                "AZURE_CLIENT_SECRET, or give this machine a managed identity",
            )
        if isinstance(error, azure.ClientAuthenticationError):
            return KeyServiceDenied(self._key_id, "no valid credentials")
        if isinstance(error, azure.HttpResponseError):
            status = error.status_code or 0
            code = getattr(getattr(error, "error", None), "code", None) or f"status {status}"
            if status in (408, 429) or status >= 500:
                return KeyServiceUnavailable(self._key_id, f"can't answer now ({code})")
            if status == 400 and unwrapping:
                return self._altered()
            return KeyServiceDenied(self._key_id, str(code)[:80])
        if isinstance(error, azure.ServiceRequestError | azure.ServiceResponseError):
            return KeyServiceUnavailable(self._key_id, f"can't be reached ({type(error).__name__})")
        if isinstance(error, azure.AzureError):
            return KeyServiceError(f"The key service {self._key_id} can't be used: {type(error).__name__}.")
        return error

    def _altered(self) -> InvalidPayload:
        return InvalidPayload(
            f"The payload's data key was not wrapped by {self._key_id}: it was altered, or belongs to another key."
        )


def _parsed(wrapped: bytes) -> tuple[str, bytes]:
    if wrapped[:1] != bytes([_FORMAT]):
        raise InvalidPayload(
            "The payload's data key is in a format that this Tacit does not read: it was altered, or written by a newer one."
        )
    length = wrapped[1] if len(wrapped) > 1 else 0
    version, inner = wrapped[2 : 2 + length], wrapped[2 + length :]
    if not _VERSION.fullmatch(version) or not inner:
        raise InvalidPayload("The payload's data key is cut or altered.")
    return version.decode(), inner


def _require() -> None:
    require("azure.keyvault.keys", extra="azure", what=_WHAT)
    require("azure.identity", extra="azure", what=_WHAT)


def _client(vault: str) -> Any:
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.keys import KeyClient

    return KeyClient(
        vault,
        DefaultAzureCredential(),
        # Trying again is `PatientService`'s, in one place for all services.
        retry_total=0,
        connection_timeout=ATTEMPT_SECONDS,
        read_timeout=ATTEMPT_SECONDS,
    )
