"""The whole of a profile's payload settings as one plugin of the SDK's own kind, for programs that connect themselves::

    client = await Client.connect("orders.example:7233", namespace="orders.acme", plugins=[sdk.TacitPlugin()])

Its workers, schedules, Nexus operations and handles have the same by it. A replayer takes the plugin itself:
``Replayer(workflows=[…], plugins=[sdk.TacitPlugin()])``.

The connection stays the program's. Of its data converter the payload converter stays, too (pydantic's, say); what would
undo the encryption, or be undone by it, is refused with a sentence: a second codec, a failure converter that leaves
messages readable, a second external storage.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from temporalio.client import ClientConfig
from temporalio.common import HeaderCodecBehavior
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    ExternalStorage,
    PayloadCodec,
)
from temporalio.plugin import SimplePlugin
from temporalio.service import ConnectConfig, GrpcCompression, ServiceClient
from temporalio.worker import ReplayerConfig, UnsandboxedWorkflowRunner, WorkerConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from codec import KeyRingError, KeyServiceError
from sdk.converter import DataConverterOptions, blind_index_of, data_converter, options_of
from sdk.describing import ReadsParentsTexts
from sdk.errors import ProfileError
from sdk.files import Files, FilesInterceptor
from sdk.indexed import IndexedRunner, IndexedService
from sdk.profile import Profile, load_profile

NAME = "tacit"
_REPLAYERS_NAMESPACE = "ReplayNamespace"
"""What the SDK's replayer is in where nobody says otherwise."""


class TacitPlugin(SimplePlugin):
    """Encryption, compression, offload and blind index of a client, its workers and replayers, as a profile says.

    Give it to the client: its workers have it from there. One plugin serves any number of clients.
    """

    def __init__(
        self,
        profile: str | Profile | None = None,
        *,
        config_file: Path | None = None,
        converter: DataConverterOptions | None = None,
    ) -> None:
        """As the profile says: the named one, else TEMPORAL_PROFILE's, else `default`. `converter` replaces its settings.

        Raises:
            ProfileError: the profile is not usable, or would send payloads readable by mistake.
        """
        super().__init__(NAME)
        self._profile = (
            profile if isinstance(profile, Profile) else load_profile(profile, config_file=config_file)
        )
        self._options = converter or options_of(self._profile)
        self._index = blind_index_of(self._options)
        self._built: dict[str, DataConverter] = {}
        self._built_files: dict[str, FilesInterceptor] = {}
        # Fails here rather than at the first client, and before anything is connected.
        self._converter(self._options.namespace)

    def __repr__(self) -> str:
        return f"TacitPlugin({self._profile.name!r})"

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """The client's payloads, failures and headers go through the codec; see the SDK's.

        Raises:
            ProfileError: the client has a codec, a failure converter or an external storage that does not go with this.
        """
        config["data_converter"] = self._composed(config["data_converter"], config["namespace"])
        config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        if self._index is not None and not isinstance(config["service_client"], IndexedService):
            config["service_client"] = IndexedService(config["service_client"], self._index)
        interceptors = config["interceptors"]
        if not any(isinstance(one, ReadsParentsTexts) for one in interceptors):
            texts = ReadsParentsTexts(config["data_converter"], config["namespace"])
            interceptors = config["interceptors"] = [*interceptors, texts]
        has_files = any(isinstance(one, FilesInterceptor) for one in interceptors)
        if self._options.object_store is not None and not has_files:
            # First, so that the program's own interceptors have files, too.
            config["interceptors"] = [self._files(config["namespace"]), *interceptors]
        return config

    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: Callable[[ConnectConfig], Awaitable[ServiceClient]],  # noqa: A002 - the SDK's name
    ) -> ServiceClient:
        """Requests are not gzipped where payloads are encrypted: ciphertext does not shrink."""
        if self._options.key_ring is not None:
            config = dataclasses.replace(config, grpc_compression=GrpcCompression.NONE)
        return await next(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """See the SDK's.

        Raises:
            ProfileError: the worker's client has no such plugin, so that all would go out readable.
        """
        plugins = config["client"].config(active_config=True)["plugins"]
        if not any(isinstance(plugin, TacitPlugin) for plugin in plugins):
            raise ProfileError(
                "TacitPlugin was given to a Worker whose Client is without it, so payloads would go out readable. "
                "Give it to the client, Client.connect(…, plugins=[TacitPlugin()]): its workers have it from there."
            )
        self._index_workflows(config)
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Encrypted histories can be replayed; nothing is written to the object store by that. See the SDK's.

        Raises:
            ProfileError: the replayer has a converter that does not go with this.
        """
        namespace = config.get("namespace", _REPLAYERS_NAMESPACE)
        if namespace == _REPLAYERS_NAMESPACE:
            namespace = self._options.namespace
        composed = self._composed(config.get("data_converter") or DataConverter.default, namespace)
        if (storage := composed.external_storage) is not None:
            # What a replay encodes is compared and thrown away: it reads objects and makes none.
            reading = ExternalStorage(
                drivers=storage.drivers,
                driver_selector=storage.driver_selector,
                payload_size_threshold=sys.maxsize,
            )
            composed = dataclasses.replace(composed, external_storage=reading)
        config["data_converter"] = composed
        config["header_codec_behavior"] = HeaderCodecBehavior.CODEC
        self._index_workflows(config)
        return config

    def _index_workflows(self, config: WorkerConfig | ReplayerConfig) -> None:
        """Have workflows set and see the search attributes of the blind index as they are."""
        if self._index is None:
            return
        sandboxed = config.get("workflow_runner") or SandboxedWorkflowRunner()
        if not isinstance(sandboxed, IndexedRunner):
            config["workflow_runner"] = IndexedRunner(sandboxed, self._index)
        other = config.get("unsandboxed_workflow_runner") or UnsandboxedWorkflowRunner()
        if not isinstance(other, IndexedRunner):
            config["unsandboxed_workflow_runner"] = IndexedRunner(other, self._index)

    def _converter(self, namespace: str) -> DataConverter:
        known = self._built.get(namespace)
        if known is None:
            try:
                known = data_converter(dataclasses.replace(self._options, namespace=namespace))
            except (KeyRingError, KeyServiceError) as error:
                sentence = str(error)
                raise (KeyRingError if isinstance(error, KeyRingError) else KeyServiceError)(
                    f"Profile {self._profile.name!r} can't be used. {sentence[:1].upper()}{sentence[1:]}"
                ) from None
            self._built[namespace] = known
        return known

    def _files(self, namespace: str) -> FilesInterceptor:
        known = self._built_files.get(namespace)
        if known is None:
            options = dataclasses.replace(self._options, namespace=namespace)
            known = self._built_files[namespace] = FilesInterceptor(Files(options))
        return known

    def _composed(self, theirs: DataConverter, namespace: str) -> DataConverter:
        """The program's converter with our codec, failure converter and storage."""
        ours = self._converter(namespace)
        if theirs.payload_codec is not None and self._is_ours(theirs.payload_codec):
            # Made by this plugin before: a client made of another's configuration. What was put into that since is looked at.
            chosen = self._failure_converter_class(theirs)
            if chosen is theirs.failure_converter_class:
                return theirs
            return dataclasses.replace(theirs, failure_converter_class=chosen)
        if theirs.payload_codec is not None:
            raise ProfileError(
                f"The client has a payload codec already ({_name(theirs.payload_codec)}), and TacitPlugin does not replace it: "
                "payloads would be encrypted twice, or no more readable to others. Leave the plugin out, or that codec; "
                "`sdk.connect` has the plugin in it already."
            )
        storage = ours.external_storage
        if theirs.external_storage is not None:
            if storage is not None:
                raise ProfileError(
                    f"The client has an external storage already, and profile {self._profile.name!r} names another "
                    "(object-store). Leave one of them out."
                )
            storage = theirs.external_storage
        return dataclasses.replace(
            theirs,
            payload_codec=ours.payload_codec,
            failure_converter_class=self._failure_converter_class(theirs),
            external_storage=storage,
        )

    def _is_ours(self, codec: PayloadCodec) -> bool:
        return any(built.payload_codec is codec for built in self._built.values())

    def _failure_converter_class(self, theirs: DataConverter) -> type:
        chosen = theirs.failure_converter_class
        if chosen is DefaultFailureConverter:
            return DefaultFailureConverterWithEncodedAttributes
        if self._options.key_ring is None or issubclass(chosen, DefaultFailureConverterWithEncodedAttributes):
            return chosen
        raise ProfileError(
            f"The client's failure converter, {chosen.__qualname__}, may leave messages and stack traces of failures "
            "readable to the service. Derive it from temporalio.converter.DefaultFailureConverterWithEncodedAttributes."
        )


def _name(thing: object) -> str:
    return type(thing).__module__ + "." + type(thing).__qualname__
