"""What can go wrong before a client is connected, or as it connects.

SdkError
├── ProfileError          the profile's files or variables are missing, wrong or unsafe (operator)
├── ConnectFailed         the service cannot be reached, or refuses (operator)
├── FilesUnavailable      files are asked for where there are none: no object store, or in a workflow (caller)
└── CertificateError      a certificate cannot be made as asked (caller)

KeyRingError, the codec's, is in `sdk` too: the key ring that a profile names is missing or not usable (operator).
"""

from __future__ import annotations


class SdkError(Exception):
    """Base of this package's own errors; not raised itself."""


class ProfileError(SdkError):
    """A profile cannot be read, written or used; the sentence names the file and the way out."""


class ConnectFailed(SdkError, RuntimeError):
    """A client did not connect; the sentence names the profile, its file, the address and the way out.

    It is a RuntimeError too, as Temporal's own client raises.
    """


class CertificateError(SdkError):
    """A certificate cannot be made as asked, or its files cannot be written."""


class FilesUnavailable(SdkError):
    """There is no file store where one is asked for; the sentence says how to have one."""
