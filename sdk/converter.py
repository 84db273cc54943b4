"""The data converter: Temporal's own, with payloads and failures encrypted, compressed and offloaded."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    ExternalStorage,
    PayloadCodec,
    PayloadConverter,
    StorageDriver,
    StorageDriverSelectContext,
)

from codec import (
    DECODE_BYTES_MAX,
    OBJECT_CACHE_BYTES,
    OFFLOAD_THRESHOLD_BYTES,
    SAMPLES_WRITERS,
    ChainCodec,
    CompressionCodec,
    EncryptionCodec,
    EnvelopeBounds,
    FixedKeys,
    KeyRing,
    KeyRingFile,
    Keys,
    MessageBound,
    ObjectCache,
    ObjectStoreDriver,
    WriteFormat,
)
from codec.blind_index import BlindIndex
from codec.keys.provider import RingBacked
from sdk.errors import ProfileError
from sdk.keys import ENVIRONMENT_PROVIDER, KeySource, in_environment
from sdk.profile import DEFAULT_PROFILE, Profile, profiles_with_keys_for, settings_file
from sdk.settings import CodecSettings, Encryption

OffloadSelector = Callable[[StorageDriverSelectContext, Payload], bool]
"""Whether a payload that is large enough goes to the object store: called with whose it is and the payload as encoded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConverterOptions:
    """What `data_converter` builds from.

    `namespace` is the one the client connects to: its prefix in the object store. `key_ring` may be the
    ring's file, followed while the program runs, a ring in memory, or whatever else gives keys (`sdk.KeySource`: key services,
    keys per subject); None leaves payloads readable by the service.

    What the payloads of one decode become, fetched and decompressed, may have `decode_bytes_max` in all.

    Payloads of `offload_threshold_bytes` and more go to the object store if `offload_types` (workflow and activity types, with
    `*` and `?` as in file names; empty: all) have whose payload it is, and `offload_selector` does not say no.

    The search attributes that `blind_index` names are stored as keyed hashes, under keys of `blind_index_key_ring`, or of
    `key_ring`. That is done by `TacitPlugin` and `connect`; a data converter has no part in search attributes.
    """

    namespace: str
    key_ring: Path | Keys | KeyRing | KeySource | None
    binding: str | None = None
    write_format: WriteFormat = WriteFormat.TACIT
    samples_writers: int = SAMPLES_WRITERS
    refuse_plaintext: bool = False
    bind_workflow: bool = False
    refuse_unbound: bool = False
    padding: bool = False
    compression: bool = True
    decode_bytes_max: int = DECODE_BYTES_MAX
    object_store: str | None = None
    object_store_options: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    offload_threshold_bytes: int = OFFLOAD_THRESHOLD_BYTES
    readable_namespaces: tuple[str, ...] = ()
    offload_types: tuple[str, ...] = ()
    offload_selector: OffloadSelector | None = None
    object_store_cache: Path | None = None
    object_store_cache_bytes: int = OBJECT_CACHE_BYTES
    blind_index: tuple[str, ...] = ()
    blind_index_key_ring: Path | KeyRing | None = None
    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter


def data_converter(options: DataConverterOptions) -> DataConverter:
    """The converter for a client and its workers: values → compressed → encrypted → offloaded if large.

    Failures' messages and stack traces go the same way, as parts of the encoded attributes.

    Raises:
        codec.KeyRingError: the key ring's file is not usable.
        codec.OffloadError: the object store is not.
    """
    codecs: list[PayloadCodec] = (
        [CompressionCodec(decode_bytes_max=options.decode_bytes_max)] if options.compression else []
    )
    keys = keys_of(options)
    if keys is not None:
        codecs.append(
            EncryptionCodec(
                keys,
                binding=options.binding,
                write_format=options.write_format,
                refuse_plaintext=options.refuse_plaintext,
                bind_workflow=options.bind_workflow,
                refuse_unbound=options.refuse_unbound,
                padding=options.padding,
                message_bound=_message_bound(options),
            )
        )
    storage = None
    if options.object_store is not None:
        driver = ObjectStoreDriver(
            options.object_store,
            namespace=options.namespace,
            readable_namespaces=options.readable_namespaces,
            options=options.object_store_options,
            cache=cache_of(options),
            decode_bytes_max=options.decode_bytes_max,
        )
        storage = ExternalStorage(
            drivers=[driver],
            driver_selector=_selector(driver, options.offload_types, options.offload_selector),
            payload_size_threshold=options.offload_threshold_bytes,
        )
    return DataConverter(
        payload_converter_class=options.payload_converter_class,
        payload_codec=ChainCodec(*codecs) if codecs else None,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        external_storage=storage,
    )


def _message_bound(options: DataConverterOptions) -> MessageBound | None:
    """What counts for the samples' format: beside the key ring where that is a file."""
    if options.write_format is not WriteFormat.SAMPLES:
        return None
    match options.key_ring:
        case Path() as ring:
            pass
        case KeySource(ring=ring):
            pass
        case KeyRingFile(path=ring):
            pass
        case _:
            ring = None
    file = ring.with_name(f"{ring.name}.messages") if ring is not None else None
    return MessageBound(file, writers=options.samples_writers)


def keys_of(options: DataConverterOptions) -> Keys | None:
    """The keys that the options name; None where payloads are not to be encrypted.

    Raises:
        codec.KeyRingError: the key ring's file is not usable.
        codec.KeyServiceError: a key service is not named rightly, or its client library is missing.
    """
    match options.key_ring:
        case KeySource() as source:
            return source.open()
        case Path() as path:
            return KeyRingFile(path)
        case KeyRing() as ring:
            return FixedKeys(ring)
        case keys:
            return keys


def cache_of(options: DataConverterOptions) -> ObjectCache | None:
    """This machine's cache of objects, if the options name one.

    Raises:
        codec.OffloadError: it is too small to be of use.
    """
    if options.object_store_cache is None:
        return None
    return ObjectCache(options.object_store_cache, bytes_max=options.object_store_cache_bytes)


def blind_index_of(options: DataConverterOptions) -> BlindIndex | None:
    """The blind index that the options name; None where there is none.

    Raises:
        ProfileError: there are no keys for it.
        codec.KeyRingError: the key ring's file is not usable.
        codec.blind_index.BlindIndexError: a name is no search attribute of the user's.
    """
    if not options.blind_index:
        return None
    chosen = options.blind_index_key_ring or options.key_ring
    keys = keys_of(dataclasses.replace(options, key_ring=chosen))
    if not isinstance(keys, RingBacked):
        raise ProfileError(
            "blind-index needs keys of its own where payloads' keys are not in a key ring (or payloads are not encrypted): "
            "make a ring, `tacit keys init --key-ring index.json`, and set blind-index-key-ring to it."
        )
    return BlindIndex(keys, options.blind_index, binding=options.binding)


def options_of(
    profile: Profile,
    *,
    namespace: str | None = None,
    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter,
) -> DataConverterOptions:
    """The options that a profile's settings say.

    Raises:
        ProfileError: encryption is on and there is no key ring: nothing is sent readable by mistake; or settings
            that exclude each other.
    """
    settings = profile.codec
    keys = _key_source(settings, namespace or profile.namespace)
    if settings.encryption is Encryption.ON and keys is None:
        raise ProfileError(_no_key_ring(profile, namespace or profile.namespace))
    if settings.write_format is WriteFormat.SAMPLES:
        for name in ("bind_workflow", "refuse_unbound", "padding"):
            if getattr(settings, name):
                raise ProfileError(
                    f"Profile {profile.name!r} sets {name.replace('_', '-')}, for which the samples' format has no "
                    'room. Clear it, or set write-format = "tacit".'
                )
    return DataConverterOptions(
        namespace=namespace or profile.namespace,
        key_ring=keys if settings.encryption is Encryption.ON else None,
        binding=settings.binding,
        write_format=settings.write_format,
        samples_writers=settings.samples_writers,
        refuse_plaintext=settings.refuse_plaintext,
        bind_workflow=settings.bind_workflow,
        refuse_unbound=settings.refuse_unbound,
        padding=settings.padding,
        compression=settings.compression,
        decode_bytes_max=settings.decode_bytes_max,
        object_store=settings.object_store,
        object_store_options=settings.object_store_options,
        offload_threshold_bytes=settings.offload_threshold_bytes,
        readable_namespaces=settings.readable_namespaces,
        offload_types=settings.offload_types,
        object_store_cache=settings.object_store_cache,
        object_store_cache_bytes=settings.object_store_cache_bytes,
        blind_index=settings.blind_index,
        blind_index_key_ring=settings.blind_index_key_ring,
        payload_converter_class=payload_converter_class,
    )


def _selector(
    driver: ObjectStoreDriver, types: Sequence[str], chosen: OffloadSelector | None
) -> Callable[[StorageDriverSelectContext, Payload], StorageDriver | None] | None:
    """Which payloads `driver` gets, None for all."""
    if not types and chosen is None:
        return None

    def select(context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        name = (context.target.type if context.target is not None else None) or ""
        if types and not any(fnmatch.fnmatchcase(name, pattern) for pattern in types):
            return None
        return driver if chosen is None or chosen(context, payload) else None

    return select


def _key_source(settings: CodecSettings, namespace: str) -> Path | KeySource | None:
    """Where the keys come from; the mere path where there is no more to say than that."""
    provider = settings.key_provider
    if settings.key_ring is None and provider is None and in_environment():
        provider = ENVIRONMENT_PROVIDER
    if settings.key_ring is None and provider is None:
        return None
    if provider is None and not settings.key_provider_also and settings.subject_keys is None:
        return settings.key_ring
    remote = settings.subject_keys is not None and not settings.subject_keys.startswith("file:")
    return KeySource(
        namespace=namespace,
        binding=settings.binding,
        ring=settings.key_ring,
        provider=provider,
        also=settings.key_provider_also,
        subject_store=settings.subject_keys,
        subject_store_options=settings.object_store_options if remote else {},
        subject=settings.subject,
        subject_required=settings.subject_required,
        bounds=EnvelopeBounds(
            seal_age_seconds=settings.data_key_seconds,
            open_age_seconds=settings.data_key_seconds,
            grace_seconds=settings.data_key_grace_seconds,
        ),
    )


def _no_key_ring(profile: Profile, namespace: str) -> str:
    """What to do, the safest first: a second ring for a namespace splits it into two that can't read each other."""
    names = {namespace, profile.codec.binding or namespace}
    others = profiles_with_keys_for(profile.config_file, names, besides=profile.name)
    place = f"[profile.{profile.name}] of {settings_file(profile.config_file)}"
    if others:
        other, settings = next(iter(others.items()))
        binding = f' and binding = "{settings.binding}"' if settings.binding else ""
        way = (
            f"Profile {other!r} has keys for this namespace: set {settings.keys_setting}{binding} "
            f"in {place} (or TACIT_CODEC_{'KEY_RING' if settings.key_provider is None else 'KEY_PROVIDER'})."
        )
    elif not settings_file(profile.config_file).exists():
        # Whoever begins here; one who lost a file reads the second sentence, too.
        way = (
            f"Make one: `tacit keys init{_profile_option(profile)}` (or name a key service, key-provider). If {namespace!r} has "
            f"one elsewhere, put a copy of it here instead, and set key-ring in {place}."
        )
    else:
        way = (
            f"If {namespace!r} has a key ring, put back a copy of it and set key-ring in {place} (or "
            'TACIT_CODEC_KEY_RING); to send payloads readable, set encryption = "off" '
            "(TACIT_CODEC_ENCRYPTION=off); only if nothing was ever encrypted for it, make a key ring: "
            f"`tacit keys init --profile {profile.name}`, or name a key service (key-provider)."
        )
    return f"Profile {profile.name!r} names no key ring, so its payloads cannot be encrypted. {way}"


def _profile_option(profile: Profile) -> str:
    return "" if profile.name == DEFAULT_PROFILE else f" --profile {profile.name}"
