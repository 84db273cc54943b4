"""What a caller is told of an error of the codec: to try again, or what only a person can mend."""

from __future__ import annotations

from cloud.rpc import FailedPrecondition, RpcError, Unavailable
from codec import CodecError, KeyRingError, ObjectCorrupt, ObjectMissing, OffloadError
from codec.audit_trail import AuditFailed
from codec.errors import KeyServiceUnavailable

_PASSING = (AuditFailed, KeyRingError, KeyServiceUnavailable, OffloadError)
_LASTING = (ObjectCorrupt, ObjectMissing)
"""What may be over when it is tried again, but for these. All other errors of the codec last until somebody acts."""


def refusal_of(method: str, error: CodecError) -> RpcError:
    """SDKs repeat what is UNAVAILABLE. What only a person can mend is told at once."""
    sentence = f"{method}: {error}"
    return FailedPrecondition(sentence) if lasts(error) else Unavailable(sentence)


def lasts(error: CodecError) -> bool:
    """Whether trying again changes nothing until somebody acts."""
    return isinstance(error, _LASTING) or not isinstance(error, _PASSING)
