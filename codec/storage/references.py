"""What Temporal's history holds in place of a payload, and where the object of a reference lies.

Claim data, version 2 (what is written)::

    {"version": "2", "namespace": <whose prefix>, "day": <YYYY-MM-DD>, "sha256": <64 hex digits>, "size": <bytes, decimal>}

The object is at `v1/ns/<namespace>/sha256/<day>/<first two digits>/<sha256>` below the store's URL: the serialized Payload,
addressed by the hash of exactly these bytes. The day (UTC, by the writer's clock) is that of the write: after it nobody writes
an object of this name or counts on finding it there, which is what lets objects be collected beside running workers
(see `codec.storage.gc`).

Version 1 (read for ever) has no day, neither in the claim nor in the path. It may grow by another `version`; a reader
refuses those it does not know.

Every part of a claim may come from an attacker (the service): paths are built here out of checked parts, so the most that
an altered claim can name is another object of a namespace that its reader may read.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime

from codec.errors import OffloadError
from codec.storage.object_store import is_namespace, namespace_prefix

OBJECT_MAX_BYTES = 80 * 1024 * 1024
"""The largest object that is written or read: the largest payload that compression accepts, with headroom."""

_VERSION = "2"
_VERSION_WITHOUT_DAY = "1"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,12}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PATH = re.compile(r"v1/ns/([^/]+)/sha256/(?:([0-9-]{10})/)?([0-9a-f]{2})/([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """An object that a payload became. `day` is None where an older Tacit wrote it."""

    namespace: str
    day: date | None
    sha256: str
    size: int

    @property
    def path(self) -> str:
        """Where the object lies, below the store's URL."""
        return object_path(self.namespace, self.day, self.sha256)

    def claim(self) -> dict[str, str]:
        """What goes into the history."""
        claim = {"version": _VERSION_WITHOUT_DAY, "namespace": self.namespace}
        if self.day is not None:
            claim = {"version": _VERSION, "namespace": self.namespace, "day": self.day.isoformat()}
        return claim | {"sha256": self.sha256, "size": str(self.size)}


def read_claim(claim: Mapping[str, str]) -> Reference:
    """What a claim says, every part of which may come from an attacker.

    Raises:
        OffloadError: another version, malformed, or an object larger than any that is written.
    """
    version = claim.get("version", "")
    if version not in (_VERSION, _VERSION_WITHOUT_DAY):
        raise OffloadError(
            f"A payload's reference has the version {version[:20]!r}, and this Tacit follows {_VERSION_WITHOUT_DAY} and "
            f"{_VERSION}: another program's, or a newer Tacit's."
        )
    namespace, digest, size = (claim.get(field, "") for field in ("namespace", "sha256", "size"))
    day = _day(claim.get("day", "")) if version == _VERSION else None
    if (
        not (is_namespace(namespace) and _SHA256.fullmatch(digest) and _SIZE.fullmatch(size))
        or (day is None) is (version == _VERSION)
        or not size.isascii()
    ):
        raise OffloadError("A payload's reference is malformed: altered, or another program's.")
    if int(size) > OBJECT_MAX_BYTES:
        raise OffloadError(
            f"A payload's reference names an object of {size} bytes, above {OBJECT_MAX_BYTES}."
        )
    return Reference(namespace, day, digest, int(size))


def object_path(namespace: str, day: date | None, sha256: str) -> str:
    """The path of an object."""
    folder = (
        f"{objects_prefix(namespace)}/{day.isoformat()}" if day is not None else objects_prefix(namespace)
    )
    return f"{folder}/{sha256[:2]}/{sha256}"


def objects_prefix(namespace: str) -> str:
    """Below which all offloaded payloads of a namespace are; ends without a slash.

    Raises:
        OffloadError: the namespace has no safe path.
    """
    return f"{namespace_prefix(namespace)}/sha256"


def read_path(path: str) -> tuple[str, date | None, str] | None:
    """Namespace, day and hash of an offloaded payload's path; None of any other."""
    parts = _PATH.fullmatch(path)
    if parts is None:
        return None
    namespace, written, prefix, digest = parts.groups()
    day = _day(written) if written is not None else None
    if prefix != digest[:2] or (written is not None and day is None) or not is_namespace(namespace):
        return None
    return namespace, day, digest


def today(clock: datetime) -> date:
    """The day of a moment, as names have it."""
    return clock.astimezone(UTC).date()


def _day(text: str) -> date | None:
    if not (_DAY.fullmatch(text) and text.isascii()):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
