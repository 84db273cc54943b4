"""Connecting: a profile in, a Temporal client out, with everything about payloads set up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from temporalio.client import Client, Interceptor, Plugin
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import DefaultPayloadConverter, PayloadConverter
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression

from codec import KeyRingError
from sdk.converter import DataConverterOptions, data_converter, options_of
from sdk.errors import ProfileError
from sdk.profile import Profile, load_profile, refuse_key_in_the_clear


async def connect(
    profile: str | Profile | None = None,
    *,
    namespace: str | None = None,
    config_file: Path | None = None,
    converter: DataConverterOptions | None = None,
    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter,
    interceptors: Sequence[Interceptor] = (),
    plugins: Sequence[Plugin] = (),
    identity: str | None = None,
    runtime: Runtime | None = None,
    lazy: bool = False,
) -> Client:
    """Connect as a profile says: the named one, else TEMPORAL_PROFILE's, else `default`.

    `namespace` replaces the profile's; `converter` replaces its settings for payloads. What is not named here
    is as `Client.connect` has it by default, except that headers go through the codec too, and that requests
    are not gzipped where payloads are encrypted: ciphertext does not shrink.

    Raises:
        ProfileError: the profile is not usable, or would send payloads or an API key readable by mistake.
        KeyRingError: its key ring is missing or not usable.
        codec.OffloadError: its object store is not.
        RuntimeError: the service cannot be reached, or refuses (raised by the SDK).
    """
    chosen = profile if isinstance(profile, Profile) else load_profile(profile, config_file=config_file)
    options = converter or options_of(
        chosen, namespace=namespace, payload_converter_class=payload_converter_class
    )
    try:
        connection = chosen.connection.to_client_connect_config()
    except OSError as error:
        raise ProfileError(
            f"Profile {chosen.name!r} names the file {error.filename}, which cannot be read: "
            f"{error.strerror}."
        ) from error
    tls = connection.get("tls", False)
    api_key = connection.get("api_key")
    if api_key is not None and tls is False:
        refuse_key_in_the_clear(chosen.address)
    try:
        converted = data_converter(options)
    except KeyRingError as error:
        # Raised anew, so that a script's traceback ends at its call of this, with one sentence and none of the way.
        raise KeyRingError(f"Profile {chosen.name!r} can't be used. {error}") from None
    return await Client.connect(
        chosen.address,
        namespace=namespace or chosen.namespace,
        api_key=api_key,
        tls=tls,
        rpc_metadata=connection.get("rpc_metadata", {}),
        data_converter=converted,
        header_codec_behavior=HeaderCodecBehavior.CODEC,
        grpc_compression=GrpcCompression.NONE if options.key_ring is not None else GrpcCompression.GZIP,
        interceptors=interceptors,
        plugins=plugins,
        identity=identity,
        runtime=runtime,
        lazy=lazy,
    )
