"""What an application imports to work with Tacit, or with any Temporal service, as its profile says::

    client = await sdk.connect()

gives a `temporalio.client.Client` whose payloads are encrypted, compressed and offloaded on this side. A program that
connects by itself adds one line: ``Client.connect(…, plugins=[sdk.TacitPlugin()])``.
"""

from temporalio import workflow

# Workflow modules are loaded anew in the SDK's sandbox, and the libraries beneath cannot be loaded twice. Whoever
# keeps workflows and this import in one file gets the modules that are loaded already.
with workflow.unsafe.imports_passed_through():
    from codec import KeyRingError
    from sdk import files
    from sdk.certificates import (
        CertificateAuthority,
        ClientCertificate,
        create_ca,
        issue_client,
        read_ca,
        write_pair,
    )
    from sdk.connection import connect
    from sdk.converter import DataConverterOptions, data_converter
    from sdk.errors import CertificateError, ConnectFailed, FilesUnavailable, ProfileError, SdkError
    from sdk.files import FileHandle
    from sdk.keys import KeySource
    from sdk.plugin import TacitPlugin
    from sdk.profile import (
        Profile,
        default_config_file,
        load_profile,
        settings_file,
        write_profile,
        write_settings,
    )
    from sdk.settings import CodecSettings, Encryption

__all__ = [
    "CertificateAuthority",
    "CertificateError",
    "ClientCertificate",
    "CodecSettings",
    "ConnectFailed",
    "DataConverterOptions",
    "Encryption",
    "FileHandle",
    "FilesUnavailable",
    "KeyRingError",
    "KeySource",
    "Profile",
    "ProfileError",
    "SdkError",
    "TacitPlugin",
    "connect",
    "create_ca",
    "data_converter",
    "default_config_file",
    "files",
    "issue_client",
    "load_profile",
    "read_ca",
    "settings_file",
    "write_pair",
    "write_profile",
    "write_settings",
]
