"""A key ring out of the environment, for containers.

`NAME` holds the ring's JSON, or base64 of it; or `NAME_FILE` names a file that holds either, as platforms mount secrets:
owned by root, readable by the container's group or by all in it, and replaced when the secret is changed, which is followed.
One of the two, not both. Nothing of what they hold is in any error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from codec.errors import KeyRingError
from codec.keys.provider import FixedKeys, RingBacked
from codec.keys.ring import KeyRing
from codec.keys.ring_document import ring_from_json
from codec.keys.ring_file import REFRESH_SECONDS, KeyRingFile, read_ring_bytes
from codec.secret_files import SIZE_MAX_BYTES

VARIABLE = "TACIT_KEY_RING"
FILE_SUFFIX = "_FILE"


def keys_from_environment(
    environment: Mapping[str, str], *, variable: str = VARIABLE, refresh_seconds: float = REFRESH_SECONDS
) -> RingBacked:
    """The key ring that the environment holds.

    Raises:
        KeyRingError: neither variable is set, or both, or what they hold is no key ring.
    """
    content, file = environment.get(variable), environment.get(variable + FILE_SUFFIX)
    if content and file:
        raise KeyRingError(
            f"{variable} and {variable}{FILE_SUFFIX} are both set; which one is meant? Unset the other."
        )
    if file:
        return KeyRingFile(Path(file), refresh_seconds=refresh_seconds, read=read_mounted_ring)
    if not content:
        raise KeyRingError(
            f"Neither {variable} (a key ring's JSON, or base64 of it) nor {variable}{FILE_SUFFIX} (a file of it) is set."
        )
    return FixedKeys(_ring(content.encode(errors="replace"), source=f"the key ring in {variable}"))


def read_mounted_ring(path: Path) -> KeyRing:
    """The key ring in a file that a platform mounted.

    Raises:
        KeyRingError: missing, writable by others, cut or damaged.
    """
    return _ring(read_ring_bytes(path, mounted=True), source=f"the key ring {path}")


def _ring(content: bytes, *, source: str) -> KeyRing:
    if len(content) > 2 * SIZE_MAX_BYTES:
        raise KeyRingError(f"{source} has {len(content)} bytes: it is no key ring.")
    text = content.strip()
    if not text.startswith(b"{"):
        try:
            text = base64.b64decode(b"".join(text.split()), validate=True)
        except (ValueError, binascii.Error):
            raise KeyRingError(
                f"{source} is neither JSON nor base64: it is cut or damaged, or something else."
            ) from None
    return ring_from_json(text, source=source)
