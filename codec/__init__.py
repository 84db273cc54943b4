"""Payloads on the client's side: encryption, compression and offload. Nothing here ever runs in the service.

Use these with any `temporalio` client::

    keys = codec.KeyRingFile(Path("keyring.json"))
    DataConverter(
        payload_codec=codec.ChainCodec(codec.CompressionCodec(), codec.EncryptionCodec(keys)),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )

or let the `sdk` package put them together out of a profile.
"""

from temporalio import workflow

# Workflow modules are loaded anew in the SDK's sandbox, and the libraries beneath cannot be loaded twice. Whoever
# keeps workflows and this import in one file gets the modules that are loaded already.
with workflow.unsafe.imports_passed_through():
    from codec.chain import ChainCodec
    from codec.compression import CompressionCodec
    from codec.decode_bound import DECODE_BYTES_MAX
    from codec.encryption.codec import EncryptionCodec, WriteFormat, is_encrypted
    from codec.encryption.message_bound import WRITERS as SAMPLES_WRITERS
    from codec.encryption.message_bound import MessageBound
    from codec.encryption.owner import DescribedWorkflowContext
    from codec.errors import (
        CodecError,
        DecodeBoundReached,
        DestroyedKey,
        DisabledKey,
        FileError,
        ForgottenSubject,
        InvalidFile,
        InvalidPayload,
        KeyRingError,
        KeyServiceDenied,
        KeyServiceError,
        KeyServiceNotAsked,
        KeyServiceUnavailable,
        LocalFileFailed,
        MessageBoundReached,
        MissingKey,
        MovedPayload,
        NoSubject,
        ObjectCorrupt,
        ObjectMissing,
        OffloadError,
        PlaintextRefused,
        SourceChanged,
        StoreFull,
        StoreRefused,
        UnboundRefused,
        WrappedKey,
    )
    from codec.files.file_key import FileKeys
    from codec.files.handle import FileHandle
    from codec.files.sources import Content as FileContent
    from codec.files.store import FileStore
    from codec.files.stream import FileStream
    from codec.files.uploading import Progress as FileProgress
    from codec.keys.envelope import EnvelopeBounds, EnvelopeKeys
    from codec.keys.environment import keys_from_environment
    from codec.keys.layered import LayeredKeys
    from codec.keys.provider import ANYONE, DataKey, FixedKeys, Keys, RingBacked, Scope
    from codec.keys.ring import Key, KeyMaterial, KeyRing, KeyState, Tombstone
    from codec.keys.ring_document import export_keys, import_keys, ring_from_json, ring_to_json
    from codec.keys.ring_file import KeyRingFile, create_key_ring, load_key_ring, update_key_ring
    from codec.keys.service import KeyService, Patience
    from codec.keys.services import open_key_service
    from codec.keys.subject_store import SubjectStore
    from codec.keys.subjects import SubjectKeys, SubjectOf, by_pattern, each_workflow
    from codec.secret_files import SecretFileError, read_secret_file, sole_writer, write_secret_file
    from codec.storage.cache import CACHE_BYTES as OBJECT_CACHE_BYTES
    from codec.storage.cache import ObjectCache
    from codec.storage.driver import THRESHOLD_BYTES as OFFLOAD_THRESHOLD_BYTES
    from codec.storage.driver import ObjectStoreDriver
    from codec.storage.object_store import OpenStore, open_store

__all__ = [
    "ANYONE",
    "DECODE_BYTES_MAX",
    "OBJECT_CACHE_BYTES",
    "OFFLOAD_THRESHOLD_BYTES",
    "SAMPLES_WRITERS",
    "ChainCodec",
    "CodecError",
    "CompressionCodec",
    "DataKey",
    "DecodeBoundReached",
    "DescribedWorkflowContext",
    "DestroyedKey",
    "DisabledKey",
    "EncryptionCodec",
    "EnvelopeBounds",
    "EnvelopeKeys",
    "FileContent",
    "FileError",
    "FileHandle",
    "FileKeys",
    "FileProgress",
    "FileStore",
    "FileStream",
    "FixedKeys",
    "ForgottenSubject",
    "InvalidFile",
    "InvalidPayload",
    "Key",
    "KeyMaterial",
    "KeyRing",
    "KeyRingError",
    "KeyRingFile",
    "KeyService",
    "KeyServiceDenied",
    "KeyServiceError",
    "KeyServiceNotAsked",
    "KeyServiceUnavailable",
    "KeyState",
    "Keys",
    "LayeredKeys",
    "LocalFileFailed",
    "MessageBound",
    "MessageBoundReached",
    "MissingKey",
    "MovedPayload",
    "NoSubject",
    "ObjectCache",
    "ObjectCorrupt",
    "ObjectMissing",
    "ObjectStoreDriver",
    "OffloadError",
    "OpenStore",
    "Patience",
    "PlaintextRefused",
    "RingBacked",
    "Scope",
    "SecretFileError",
    "SourceChanged",
    "StoreFull",
    "StoreRefused",
    "SubjectKeys",
    "SubjectOf",
    "SubjectStore",
    "Tombstone",
    "UnboundRefused",
    "WrappedKey",
    "WriteFormat",
    "by_pattern",
    "create_key_ring",
    "each_workflow",
    "export_keys",
    "import_keys",
    "is_encrypted",
    "keys_from_environment",
    "load_key_ring",
    "open_key_service",
    "open_store",
    "read_secret_file",
    "ring_from_json",
    "ring_to_json",
    "sole_writer",
    "update_key_ring",
    "write_secret_file",
]
