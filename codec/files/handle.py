"""What stands for a file in payloads: a small handle, and the name of the file that it carries.

A file's name in the service's histories is its URI, version 1::

    tacit-file:v1:<namespace>:<32 hex digits of the file's id>

Its objects are all below `v1/ns/<namespace>/files/<first two digits of the id>/<id>/`. It may grow by another version: a
reader refuses those it does not know. Who collects what nothing points to any more looks for `find_addresses` in decrypted
payloads.

A handle comes out of a payload, so its reader believes nothing of it: `Claims.of` checks each part before it is used.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from codec.errors import InvalidFile
from codec.storage.object_store import is_namespace, namespace_prefix

FILE_MAX_BYTES = 1024**4
"""The largest file: a tebibyte. It bounds how many segments a manifest lists."""

ID_HEX_DIGITS = 32
URI_PREFIX = "tacit-file:v1:"

_TEXT_CHARACTERS_MAX = 1024
_ADDRESS = re.compile(rb"tacit-file:v1:([A-Za-z0-9][A-Za-z0-9._-]{0,254}):([0-9a-f]{32})(?![0-9a-f])")
_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, order=True)
class FileAddress:
    """Where a file is: whose, and which."""

    namespace: str
    id: str

    def __post_init__(self) -> None:
        if not is_namespace(self.namespace) or not _ID.fullmatch(self.id):
            raise InvalidFile("A file's address is malformed: altered, or another program's.")

    @property
    def uri(self) -> str:
        """As it stands in payloads."""
        return f"{URI_PREFIX}{self.namespace}:{self.id}"

    @property
    def prefix(self) -> str:
        """Below which all the file's objects are; ends without a slash."""
        return f"{files_prefix(self.namespace)}/{self.id[:2]}/{self.id}"

    @classmethod
    def parse(cls, uri: str) -> FileAddress:
        """The address that a URI names.

        Raises:
            InvalidFile: it is none, or of another version.
        """
        found = _ADDRESS.fullmatch(uri.encode("ascii", "replace"))
        if found is None:
            raise InvalidFile(
                f"{uri[:80]!r} names no file (like {URI_PREFIX}orders.acme:<32 hex digits>): "
                "altered, another program's, or a newer Tacit's."
            )
        return cls(found[1].decode(), found[2].decode())


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class FileHandle:
    """A file in the object store, as an argument or result of workflows and activities.

    `size` is in bytes, `sha256` that of the content, `manifest` that of the object which lists the file's parts. A handle
    holds no key: who has one needs the profile's keys, too. Its name, type and digest tell of the content, so they are left
    out of its repr.
    """

    uri: str
    size: int
    sha256: str
    manifest: str
    name: str = ""
    content_type: str = "application/octet-stream"

    def __repr__(self) -> str:
        return f"FileHandle({str(self.uri)[:320]!r}, size={str(self.size)[:20]})"


@dataclasses.dataclass(frozen=True)
class Claims:
    """What a handle says, each part well formed and within its bounds; none of it is proved yet."""

    address: FileAddress
    size: int
    sha256: str
    manifest: str

    @classmethod
    def of(cls, handle: FileHandle) -> Claims:
        """Read a handle.

        Raises:
            InvalidFile: a part is malformed or out of bounds.
        """
        if not isinstance(handle, FileHandle):
            raise InvalidFile(
                f"A file is opened by its FileHandle, not by a {type(handle).__name__}: give the activity's parameter "
                "that type."
            )
        if not all(isinstance(one, str) for one in (handle.uri, handle.sha256, handle.manifest)):
            raise InvalidFile("A file's handle is malformed: altered, or another program's.")
        address = FileAddress.parse(handle.uri)
        if not (_SHA256.fullmatch(handle.sha256) and _SHA256.fullmatch(handle.manifest)):
            raise InvalidFile(f"The handle of {address.uri} is malformed: altered, or another program's.")
        if type(handle.size) is not int or not 0 <= handle.size <= FILE_MAX_BYTES:
            raise InvalidFile(
                f"The handle of {address.uri} has no size that a file may have (0 to {FILE_MAX_BYTES} bytes)."
            )
        return cls(address, handle.size, handle.sha256, handle.manifest)


def files_prefix(namespace: str) -> str:
    """Below which all files of a namespace are; ends without a slash.

    Raises:
        OffloadError: the namespace has no safe path.
    """
    return f"{namespace_prefix(namespace)}/files"


def find_addresses(content: bytes) -> Iterator[FileAddress]:
    """Every file that a decrypted payload names, wherever in its bytes and however often."""
    for found in _ADDRESS.finditer(content):
        yield FileAddress(found[1].decode(), found[2].decode())


def checked_text(text: str, *, what: str) -> str:
    """A name or content type that may go into a handle.

    Raises:
        InvalidFile: too long, or not printable.
    """
    if len(text) > _TEXT_CHARACTERS_MAX or not text.isprintable():
        raise InvalidFile(f"A file's {what} has at most {_TEXT_CHARACTERS_MAX} printable characters.")
    return text
