"""The key management services that wrap data keys, chosen by URL.

| URL | service | its own name for a wrapped key's bytes |
| --- | --- | --- |
| `aws-kms:ARN` (or `alias/NAME`, with `?region=`) | AWS KMS | CiphertextBlob, encryption context `tacit-binding` |
| `gcp-kms:projects/…/cryptoKeys/NAME` | Google Cloud KMS | ciphertext, with associated data |
| `azure-key-vault:https://VAULT/keys/NAME` | Azure Key Vault, Managed HSM | ours, see `azure.py`: it holds the key's version |
| `vault-transit:MOUNT/NAME` | HashiCorp Vault, OpenBao | `vault:vN:…`, with associated data |
| `awskms://…`, `gcpkms://…`, `azurekeyvault://…` | the same services | as temporal-proxy writes them: bound to nothing |

What follows a `?` are settings of the connection, listed in each module; credentials come from where the vendor's own tools
take them. The part before it is the key's id in payloads, so it must not change; of the last row it is the whole URL.
Rotating the key inside its service changes nothing here: every service reads what its older versions wrapped.

Each needs its vendor's client library, an extra of this package; it is imported when the first key is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from codec.errors import KeyServiceError
from codec.keys.service import KeyService
from codec.keys.services.aws import AwsKms
from codec.keys.services.azure import AzureKeyVault
from codec.keys.services.gcp import GoogleCloudKms
from codec.keys.services.vault import VaultTransit

_OURS: Mapping[str, Callable[[str, Mapping[str, str]], KeyService]] = {
    "aws-kms": AwsKms.opened,
    "gcp-kms": GoogleCloudKms.opened,
    "azure-key-vault": AzureKeyVault.opened,
    "vault-transit": VaultTransit.opened,
}
_TEMPORAL_PROXY: Mapping[str, Callable[[str, str, Mapping[str, str]], KeyService]] = {
    "awskms": AwsKms.of_temporal_proxy,
    "gcpkms": GoogleCloudKms.of_temporal_proxy,
    "azurekeyvault": AzureKeyVault.of_temporal_proxy,
}


def open_key_service(url: str) -> KeyService:
    """The key that `url` names. Nothing is sent yet.

    Raises:
        KeyServiceError: no such service, a malformed name, an unknown setting, or its client library is not installed.
    """
    scheme, _, rest = url.partition(":")
    name, _, query = rest.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    if scheme in _OURS and name:
        return _OURS[scheme](name, settings)
    if scheme in _TEMPORAL_PROXY and name.strip("/"):
        return _TEMPORAL_PROXY[scheme](url, name.lstrip("/"), settings)
    known = ", ".join(f"{one}:" for one in _OURS)
    raise KeyServiceError(
        f"{url.partition('?')[0][:120]!r} names no key service. Use one of {known} with the key's name behind it, as in "
        "aws-kms:arn:aws:kms:eu-central-1:111122223333:key/…"
    )
