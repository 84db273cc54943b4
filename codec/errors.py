"""What can go wrong on the client's side of a payload, and whose fault it is.

CodecError
├── KeyRingError          the key ring file: missing, open to others, cut, not ours (operator)
├── MissingKey            a payload names a key that the ring lacks (operator: import it)
├── DisabledKey           a payload names a key that was disabled on purpose (operator)
├── ForgottenSubject     a payload is of a subject that was forgotten: nothing reads it again
├── NoSubject            a payload is nobody's, where each must be somebody's (sender)
├── KeyServiceError      a key management service answers what can't be, or is not set up (operator)
│   ├── KeyServiceUnavailable   it is slow, down or throttles: asking again may help
│   └── KeyServiceDenied        it refuses, or its key is not there or not enabled (operator)
│       └── KeyServiceNotAsked  nothing here says as whom or where to ask it (operator)
├── WrappedKey            a payload's key is wrapped by another, and no key service is configured (operator)
├── InvalidPayload        a payload that does not authenticate or decode, whatever the cause (sender, attacker)
│   └── MovedPayload      a payload that stands in another workflow than the one it was written for (attacker)
├── MessageBoundReached   a key has encrypted as much as its format allows (operator: rotate it)
├── DecodeBoundReached    the payloads of one message would become too many bytes (operator: raise it; attacker)
├── UnboundRefused        a payload bound to no workflow where only bound ones are accepted (sender)
├── PlaintextRefused      an unencrypted payload where only encrypted ones are accepted (sender)
├── FileError             a file cannot be put or opened as asked (caller)
│   ├── InvalidFile       a handle or manifest that is malformed, altered, or does not authenticate (attacker)
│   ├── SourceChanged     what is put changed while it was read (caller: put it again)
│   └── LocalFileFailed   a local file cannot be read or written (caller: disk, rights)
└── OffloadError          the object store could not be written or read (store)
    ├── ObjectMissing     the object that a reference names is not there
    ├── ObjectCorrupt     the object is there and is not what was stored
    ├── StoreRefused      the store does not let this client do so (operator: rights)
    └── StoreFull         the store has no room (operator)

No message of these holds key material or any part of a payload's content.
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of all errors of this package; not raised itself."""


class KeyRingError(CodecError):
    """A key ring cannot be read, written or changed as asked."""


class MissingKey(CodecError):
    """A payload names a key that is not there."""

    def __init__(self, key_id: str, *, ring: str, way_out: str | None = None) -> None:
        super().__init__(
            f"The payload is encrypted with key {key_id!r}, which is not in {ring}. "
            + (
                way_out
                or f"Export it where the payload was written (`tacit keys export {key_id}`) "
                "and import it here (`tacit keys import`)."
            )
        )
        self.key_id = key_id


class DisabledKey(CodecError):
    """A payload names a key that is in the key ring but disabled."""

    def __init__(self, key_id: str, *, ring: str) -> None:
        super().__init__(
            f"The payload is encrypted with key {key_id!r}, which is disabled in {ring}. "
            f"If it may be read again, run `tacit keys enable {key_id}`."
        )
        self.key_id = key_id


class DestroyedKey(CodecError):
    """A payload names a key that was destroyed: it is unreadable for ever."""

    def __init__(self, key_id: str, *, ring: str, when: str) -> None:
        super().__init__(
            f"The payload is encrypted with key {key_id!r}, which was destroyed in {ring} on {when}: "
            "its data is unreadable for ever. Terminate or reset the workflows that still need it."
        )
        self.key_id = key_id


class WrappedKey(CodecError):
    """A payload carries its key, wrapped by another key that nothing here can use."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"The payload's own key is wrapped by key {key_id!r} of a key service (encryption-dek), as envelope "
            "encryption writes it; configure that key service to read it."
        )
        self.key_id = key_id


class ForgottenSubject(CodecError):
    """A payload is of a subject whose key was deleted, or is to be."""

    def __init__(self, key_id: str, *, when: str, sealing: bool = False) -> None:
        what = (
            "new data of it is refused. If the subject may come back, run `tacit keys forget` with --allow-new."
            if sealing
            else "its data is unreadable for ever. Terminate the workflows that still need it."
        )
        super().__init__(f"The subject of {key_id} was forgotten {when}: {what}")
        self.key_id = key_id


class NoSubject(CodecError):
    """A payload of no known subject, where the settings want one of each."""


class KeyServiceError(CodecError):
    """A key management service is not set up, or answers what can't be."""


class KeyServiceUnavailable(KeyServiceError):
    """A key management service is slow, down or throttles; whoever has keys in memory goes on with them."""

    def __init__(self, key_id: str, fault: str) -> None:
        super().__init__(
            f"The key service {key_id} {fault}; it was asked again, and will be with the next payload. "
            "Check that it is up and can be reached from here."
        )


class KeyServiceDenied(KeyServiceError):
    """A key management service refuses to use its key for us."""

    def __init__(self, key_id: str, fault: str) -> None:
        super().__init__(
            f"The key service {key_id} refuses ({fault}). Check that the key exists and is enabled, and that these "
            "credentials may make, wrap and unwrap data keys with it."
        )


class KeyServiceNotAsked(KeyServiceDenied):
    """A key management service could not even be asked: credentials, a region or the like are missing here."""

    def __init__(self, key_id: str, missing: str) -> None:
        KeyServiceError.__init__(self, f"The key service {key_id} was not asked: {missing}.")


class InvalidPayload(CodecError):
    """A payload that cannot be trusted or understood.

    One sentence serves every failed authentication (altered bytes, another binding, another key under the
    same id, a cut payload), so that whoever sends payloads learns nothing from the answer.
    """


class MovedPayload(InvalidPayload):
    """A payload that is bound to one workflow (or activity, or Nexus operation) and stands in another."""

    def __init__(self, owner: str, reader: str) -> None:
        super().__init__(
            f"The payload says that it was written for {owner}, and stands in {reader}, where Temporal does not "
            "bring it: whoever keeps it has exchanged it, or it was copied by hand."
        )


class MessageBoundReached(CodecError):
    """A key has encrypted as many payloads in the samples' format as are safe."""

    def __init__(self, key_id: str, *, share: int) -> None:
        super().__init__(
            f"Key {key_id!r} has encrypted {share} payloads in the samples' format, all that this machine may write "
            "with one key. Run `tacit keys rotate`: the new key starts anew, the old one still decrypts."
        )
        self.key_id = key_id


class DecodeBoundReached(CodecError):
    """The payloads of one message would become more bytes than one decode may hold."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(
            f"The payloads of one message would become more than {bytes_max} bytes in all. If they are yours, raise "
            "decode-bytes-max (tacit.toml, or TACIT_CODEC_DECODE_BYTES_MAX); else it is an attempt to exhaust memory."
        )


class UnboundRefused(CodecError):
    """A payload that is bound to no workflow arrived where the settings accept only bound ones."""


class PlaintextRefused(CodecError):
    """An unencrypted payload arrived where the settings accept only encrypted ones."""


class FileError(CodecError):
    """A file cannot be put or opened as asked; not raised itself, except where the caller asks for the impossible."""


class InvalidFile(FileError):
    """A file's handle or manifest that cannot be trusted or understood, or content that is not what its handle says."""


class SourceChanged(FileError):
    """What is put changed while it was read, so that its content is neither the old nor the new."""


class LocalFileFailed(FileError):
    """A local file, the source or the target of a transfer, cannot be read or written."""


class OffloadError(CodecError):
    """The object store refused, could not be reached, or was given a reference it must not follow."""


class ObjectMissing(OffloadError):
    """The object that a payload's reference names does not exist."""


class ObjectCorrupt(OffloadError):
    """The object that a payload's reference names is not what was stored there."""


class StoreRefused(OffloadError):
    """The object store does not permit what was asked: no rights, or no valid credentials."""


class StoreFull(OffloadError):
    """The object store has no room for another object."""
