"""AWS KMS: data keys by GenerateDataKey, unwrapped by Decrypt, for a symmetric key.

The wrapped key is KMS's CiphertextBlob. Its encryption context is `{"tacit-binding": binding}`, which shows in CloudTrail and
can be a condition of key policies. KMS is told on each Decrypt which key it must be, so a blob under another key that these
credentials could use is refused.

Settings: `region` (else the ARN's, else the usual variables), `endpoint`, `profile`. Credentials: boto3's usual chain.
Rights: kms:GenerateDataKey and kms:Decrypt on the key; who only reads needs kms:Decrypt.
"""

from __future__ import annotations

import os
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
from codec.keys.service import ATTEMPT_SECONDS, CALLS_AT_ONCE_MAX
from codec.keys.services.client import BlockingClient, only, require

T = TypeVar("T")

_WHAT = "AWS KMS"
_CONTEXT = "tacit-binding"
_SETTINGS = {"region", "endpoint", "profile"}
_ALTERED = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_PASSING = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


class AwsKms:
    """A symmetric key of AWS KMS."""

    def __init__(
        self, key: str, *, key_id: str, context: Callable[[str], dict[str, str]], client: Callable[[], Any]
    ) -> None:
        self._key = key
        self._key_id = key_id
        self._context = context
        self._client = BlockingClient(client, name="aws-kms")

    @classmethod
    def opened(cls, name: str, settings: Mapping[str, str]) -> AwsKms:
        """`name` is an ARN, `alias/NAME` or a key's id.

        Raises:
            KeyServiceError: boto3 is not installed, or an unknown setting.
        """
        only(settings, _SETTINGS, what=_WHAT)
        return cls(
            name,
            key_id=f"aws-kms:{name}",
            context=lambda binding: {_CONTEXT: binding},
            client=_maker(name, settings),
        )

    @classmethod
    def of_temporal_proxy(cls, url: str, name: str, settings: Mapping[str, str]) -> AwsKms:
        """A key as temporal-proxy uses it: encryption context only as its URL says (`context_NAME=VALUE`).

        Raises:
            KeyServiceError: boto3 is not installed, or an unknown setting.
        """
        prefix = "context_"
        context = {key[len(prefix) :]: value for key, value in settings.items() if key.startswith(prefix)}
        rest = {key: value for key, value in settings.items() if not key.startswith(prefix)}
        rest.pop("awssdk", None)
        only(rest, _SETTINGS, what=_WHAT)
        return cls(name, key_id=url, context=lambda _: context, client=_maker(name, rest))

    @property
    def key_id(self) -> str:
        """`aws-kms:` and the key's name."""
        return self._key_id

    async def generate(self, binding: str) -> tuple[KeyMaterial, bytes]:
        """See `KeyService`; the key comes from KMS's random source."""
        answer = await self._call(
            lambda kms: kms.generate_data_key(
                KeyId=self._key, NumberOfBytes=KEY_BYTES, EncryptionContext=self._context(binding)
            )
        )
        return KeyMaterial(answer["Plaintext"]), answer["CiphertextBlob"]

    async def unwrap(self, wrapped: bytes, binding: str) -> KeyMaterial:
        """See `KeyService`."""
        answer = await self._call(
            lambda kms: kms.decrypt(
                KeyId=self._key, CiphertextBlob=wrapped, EncryptionContext=self._context(binding)
            )
        )
        if len(answer["Plaintext"]) != KEY_BYTES:
            raise InvalidPayload(f"What {self._key_id} unwrapped is no 256-bit data key.")
        return KeyMaterial(answer["Plaintext"])

    async def _call(self, call: Callable[[Any], T]) -> T:
        try:
            return await self._client.run(call)
        except Exception as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> Exception:
        from botocore import exceptions as boto  # here, as botocore is imported only where KMS is used

        if isinstance(error, boto.ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))[:80]
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _ALTERED:
                return InvalidPayload(
                    f"The payload's data key was not wrapped by {self._key_id} for this binding: it was altered, or belongs "
                    "to another key or binding."
                )
            if code in _PASSING or status >= 500 or status == 429:
                return KeyServiceUnavailable(self._key_id, f"can't answer now ({code or status})")
            return KeyServiceDenied(self._key_id, code or f"status {status}")
        if isinstance(error, boto.HTTPClientError | boto.ConnectionError):
            return KeyServiceUnavailable(self._key_id, f"can't be reached ({type(error).__name__})")
        if isinstance(error, boto.NoRegionError):
            return KeyServiceNotAsked(
                self._key_id,
                "no region is known; add ?region=NAME to its URL, name the key by its ARN, or set AWS_REGION",
            )
        if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.ProfileNotFound):
            return KeyServiceNotAsked(
                self._key_id,
                f"there are no credentials ({type(error).__name__}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a "
                "profile of ~/.aws (AWS_PROFILE, or ?profile=NAME in its URL), or give this machine a role",
            )
        if isinstance(error, boto.BotoCoreError):
            return KeyServiceDenied(self._key_id, type(error).__name__)
        if isinstance(error, ValueError | KeyError):
            return KeyServiceError(f"The key service {self._key_id} can't be used: {type(error).__name__}.")
        return error


def _maker(name: str, settings: Mapping[str, str]) -> Callable[[], Any]:
    require("boto3", extra="aws", what=_WHAT)
    parts = name.split(":")
    region = settings.get("region") or (parts[3] if name.startswith("arn:") and len(parts) > 3 else None)

    def make() -> Any:
        import boto3
        from botocore.config import Config

        # AWS's other tools know this variable, too; boto3 only the older one.
        usual = None if os.environ.get("AWS_DEFAULT_REGION") else os.environ.get("AWS_REGION") or None
        session = boto3.Session(profile_name=settings.get("profile"), region_name=region or usual)
        return session.client(
            "kms",
            endpoint_url=settings.get("endpoint"),
            config=Config(
                connect_timeout=ATTEMPT_SECONDS,
                read_timeout=ATTEMPT_SECONDS,
                # Trying again is `PatientService`'s, in one place for all services.
                retries={"total_max_attempts": 1},
                max_pool_connections=CALLS_AT_ONCE_MAX,
            ),
        )

    return make
