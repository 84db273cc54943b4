"""Google Cloud KMS: data keys made here, wrapped by Encrypt, unwrapped by Decrypt, for a symmetric key.

The wrapped key is the service's ciphertext, which names its key version itself: rotation keeps older ones readable. Its
associated data is `tacit data key\\0` and the binding. As Google asks, every request and answer carries CRC32C sums, and an
answer whose sums don't fit is taken for a fault of the way there and asked for again.

Settings: `endpoint` (a regional one). Credentials: Application Default Credentials.
Rights: cloudkms.cryptoKeyVersions.useToEncrypt and useToDecrypt (roles/cloudkms.cryptoKeyEncrypterDecrypter).
"""

from __future__ import annotations

import re
import secrets
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

_WHAT = "Google Cloud KMS"
_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


class GoogleCloudKms:
    """A symmetric key of Google Cloud KMS."""

    def __init__(self, name: str, *, key_id: str, bound: bool, client: Callable[[], Any]) -> None:
        if not _NAME.fullmatch(name):
            raise KeyServiceError(
                f"{name[:120]!r} names no key of {_WHAT}: use projects/…/locations/…/keyRings/…/cryptoKeys/…, without a "
                "version."
            )
        self._name = name
        self._key_id = key_id
        self._bound = bound
        self._client = BlockingClient(client, name="gcp-kms")

    @classmethod
    def opened(cls, name: str, settings: Mapping[str, str]) -> GoogleCloudKms:
        """`name` is the key's resource name.

        Raises:
            KeyServiceError: the client library is not installed, a malformed name, or an unknown setting.
        """
        only(settings, {"endpoint"}, what=_WHAT)
        return cls(name, key_id=f"gcp-kms:{name}", bound=True, client=_maker(settings))

    @classmethod
    def of_temporal_proxy(cls, url: str, name: str, settings: Mapping[str, str]) -> GoogleCloudKms:
        """A key as temporal-proxy uses it: without associated data.

        Raises:
            KeyServiceError: the client library is not installed, a malformed name, or an unknown setting.
        """
        only(settings, set(), what=_WHAT)
        return cls(name, key_id=url, bound=False, client=_maker(settings))

    @property
    def key_id(self) -> str:
        """`gcp-kms:` and the key's resource name."""
        return self._key_id

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        """See `KeyService`."""
        secret, associated = secrets.token_bytes(KEY_BYTES), self._associated(binding)

        def call(kms: Any) -> bytes:
            answer = kms.encrypt(
                request={
                    "name": self._name,
                    "plaintext": secret,
                    "plaintext_crc32c": _crc32c(secret),
                    "additional_authenticated_data": associated,
                    "additional_authenticated_data_crc32c": _crc32c(associated),
                },
                timeout=ATTEMPT_SECONDS,
                retry=None,
            )
            if not (
                answer.verified_plaintext_crc32c
                and answer.verified_additional_authenticated_data_crc32c
                and answer.ciphertext_crc32c == _crc32c(answer.ciphertext)
            ):
                raise self._garbled()
            return bytes(answer.ciphertext)

        return KeyMaterial(secret), await self._call(call, unwrapping=False)

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        """See `KeyService`."""
        associated = self._associated(binding)

        def call(kms: Any) -> bytes:
            answer = kms.decrypt(
                request={
                    "name": self._name,
                    "ciphertext": wrapped,
                    "ciphertext_crc32c": _crc32c(wrapped),
                    "additional_authenticated_data": associated,
                    "additional_authenticated_data_crc32c": _crc32c(associated),
                },
                timeout=ATTEMPT_SECONDS,
                retry=None,
            )
            if answer.plaintext_crc32c != _crc32c(answer.plaintext):
                raise self._garbled()
            return bytes(answer.plaintext)

        secret = await self._call(call, unwrapping=True)
        if len(secret) != KEY_BYTES:
            raise InvalidPayload(f"What {self._key_id} unwrapped is no 256-bit data key.")
        return KeyMaterial(secret)

    def _associated(self, binding: str) -> bytes:
        return b"tacit data key\0" + binding.encode() if self._bound else b""

    def _garbled(self) -> KeyServiceUnavailable:
        return KeyServiceUnavailable(self._key_id, "was not understood (a CRC32C sum does not fit)")

    async def _call(self, call: Callable[[Any], T], *, unwrapping: bool) -> T:
        try:
            return await self._client.run(call)
        except Exception as error:
            raise self._fault(error, unwrapping=unwrapping) from None

    def _fault(self, error: Exception, *, unwrapping: bool) -> Exception:
        from google.api_core import exceptions as google
        from google.auth import exceptions as auth

        if unwrapping and isinstance(error, google.InvalidArgument):
            # A sum that does not fit is answered so too; then asking again answers the same, as with an altered key.
            return InvalidPayload(
                f"The payload's data key was not wrapped by {self._key_id} for this binding: it was altered, or belongs "
                "to another key or binding."
            )
        if isinstance(
            error,
            google.ServerError
            | google.TooManyRequests
            | google.Aborted
            | google.Cancelled
            | google.RetryError,
        ):
            return KeyServiceUnavailable(self._key_id, f"can't answer now ({type(error).__name__})")
        if isinstance(error, auth.TransportError | auth.RefreshError) and getattr(error, "retryable", False):
            return KeyServiceUnavailable(self._key_id, f"gives no credentials now ({type(error).__name__})")
        if isinstance(error, auth.DefaultCredentialsError):
            return KeyServiceNotAsked(
                self._key_id,
                "there are no credentials (DefaultCredentialsError); run `gcloud auth application-default login`, set "
                "GOOGLE_APPLICATION_CREDENTIALS to a file of them, or give this machine a service account",
            )
        if isinstance(error, google.GoogleAPICallError | auth.GoogleAuthError):
            return KeyServiceDenied(self._key_id, type(error).__name__)
        return error


def _maker(settings: Mapping[str, str]) -> Callable[[], Any]:
    require("google.cloud.kms", extra="gcp", what=_WHAT)

    def make() -> Any:
        from google.cloud import kms

        endpoint = settings.get("endpoint")
        return kms.KeyManagementServiceClient(client_options={"api_endpoint": endpoint} if endpoint else None)

    return make


def _crc32c(content: bytes) -> int:
    import google_crc32c

    return int(google_crc32c.value(content))
