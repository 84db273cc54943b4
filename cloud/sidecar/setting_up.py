"""From profiles to routes: each with its keys, its object store and its connection to the service."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.sidecar.routes import Route, Routes
from cloud.sidecar.upstream import Upstream
from codec.blind_index.messages import IndexedMessages
from codec.proxy.offload import Offload
from codec.proxy.owners import Owners
from codec.proxy.payloads import PayloadChain
from sdk import Encryption, Profile, ProfileError, data_converter
from sdk.converter import blind_index_of, options_of


def routes_of(profiles: Sequence[Profile]) -> Routes:
    """The routes of these profiles, on the event loop that is to use them.

    Raises:
        ProfileError: a profile is not usable, or two are for one namespace.
        CodecError: a key ring, a key service or an object store is not.
    """
    routes: dict[str, Route] = {}
    for profile in profiles:
        local = profile.codec.local_namespace or profile.namespace
        if local in routes:
            raise ProfileError(
                f"Profiles {routes[local].profile!r} and {profile.name!r} are both for the namespace {local!r}, and a call "
                "does not say which is meant. Give one of them another name here (local-namespace in tacit.toml)."
            )
        routes[local] = Route(
            profile=profile.name,
            local=local,
            remote=profile.namespace,
            chain=chain_of(profile),
            upstream=Upstream(profile),
            owners=Owners(profile.namespace),
            indexed=_indexed(profile),
        )
    return Routes(routes.values())


def chain_of(profile: Profile) -> PayloadChain:
    """What the profile's settings make of payloads: just what `sdk.connect` would.

    Raises:
        ProfileError: it would send payloads readable by mistake.
        CodecError: its keys or its object store are not usable.
    """
    options = options_of(profile)
    converter = data_converter(options)
    storage = converter.external_storage
    offload = None
    if storage is not None:
        offload = Offload(
            storage.drivers[0],
            threshold_bytes=storage.payload_size_threshold,
            namespace=profile.namespace,
        )
    settings = profile.codec
    return PayloadChain(
        converter.payload_codec,
        offload,
        encrypts=settings.encryption is Encryption.ON,
        asks=settings.bind_workflow or settings.refuse_unbound or settings.subject_keys is not None,
        decode_bytes_max=settings.decode_bytes_max,
    )


def _indexed(profile: Profile) -> IndexedMessages | None:
    """What blinds the search attributes that the profile names; None if it names none."""
    index = blind_index_of(options_of(profile))
    return None if index is None else IndexedMessages(index)
