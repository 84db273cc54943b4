"""The keys that a profile names: a key ring's file or the environment, a key service, keys per subject; or several of these.

key-ring        a file; with a key service beside it, it only reads what was written before
key-provider    "env" or "env:NAME" (see `codec/keys/environment.py`), or a key service's URL (`codec/keys/services`)
key-provider-also       further key services to read with
subject-keys    a store for keys per subject; `subject` says whose data a payload is (`codec/keys/subjects.py`)
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path

from codec import (
    EnvelopeBounds,
    EnvelopeKeys,
    KeyRingError,
    KeyRingFile,
    Keys,
    LayeredKeys,
    RingBacked,
    SubjectKeys,
    SubjectOf,
    SubjectStore,
    by_pattern,
    each_workflow,
    keys_from_environment,
    open_key_service,
)

ENVIRONMENT_PROVIDER = "env"
ENVIRONMENT_VARIABLE = "TACIT_KEY_RING"
EACH_WORKFLOW = "workflow"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeySource:
    """Where a profile's keys come from. Opened once, whoever asks.

    `binding` is what key services' and subjects' keys are bound to; by default the key ring's, else `namespace`.
    """

    namespace: str
    binding: str | None = None
    ring: Path | None = None
    provider: str | None = None
    also: tuple[str, ...] = ()
    subject_store: str | None = None
    subject_store_options: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    subject: str | SubjectOf = EACH_WORKFLOW
    subject_required: bool = False
    bounds: EnvelopeBounds | None = None

    def open(self) -> Keys:
        """The keys.

        Raises:
            KeyRingError: the key ring, or what stands in for it, is not usable.
            KeyServiceError: a key service is not named rightly, or its client library is not installed.
            OffloadError: the store of subjects' keys can't be opened.
        """
        return self._opened

    def open_namespace_keys(self) -> Keys:
        """The keys without those of subjects: what seals these. Opened anew.

        Raises:
            KeyRingError, KeyServiceError: see `open`.
        """
        return self._namespace_keys()[0]

    @functools.cached_property
    def _opened(self) -> Keys:
        keys, binding = self._namespace_keys()
        if self.subject_store is None:
            return keys
        match self.subject:
            case str() as text:
                subject_of = each_workflow if text == EACH_WORKFLOW else by_pattern(text)
            case chosen:
                subject_of = chosen
        store = SubjectStore(self.subject_store, self.subject_store_options)
        return SubjectKeys(keys, store, subject_of, binding=binding, required=self.subject_required)

    def _ring(self) -> RingBacked | None:
        kind, _, variable = (self.provider or "").partition(":")
        if kind == ENVIRONMENT_PROVIDER:
            return keys_from_environment(os.environ, variable=variable or ENVIRONMENT_VARIABLE)
        return KeyRingFile(self.ring) if self.ring is not None else None

    def _namespace_keys(self) -> tuple[Keys, str]:
        ring = self._ring()
        binding = self.binding or (ring.current().binding if ring is not None else self.namespace)
        urls = [url for url in (self.provider, *self.also) if url is not None and not is_environment(url)]
        if not urls:
            if ring is None:
                raise KeyRingError("There is neither a key ring nor a key provider.")
            return ring, binding
        services = [open_key_service(url) for url in urls]
        envelope = EnvelopeKeys(services[0], binding=binding, also=services[1:], bounds=self.bounds)
        if ring is None:
            return envelope, binding
        if self.provider is None or is_environment(self.provider):
            return LayeredKeys(ring, wrapped=envelope), binding
        return LayeredKeys(envelope, named=ring), binding

    def open_subject_keys(self) -> SubjectKeys:
        """The keys of subjects.

        Raises:
            KeyRingError: the source has none, or see `open`.
            KeyServiceError, OffloadError: see `open`.
        """
        keys = self.open()
        if not isinstance(keys, SubjectKeys):
            raise KeyRingError("There are no keys per subject: subject-keys names no store for them.")
        return keys


def is_environment(provider: str) -> bool:
    """Whether a key provider is the environment."""
    return provider.partition(":")[0] == ENVIRONMENT_PROVIDER


def in_environment() -> bool:
    """Whether the environment holds a key ring, unasked."""
    return any(os.environ.get(ENVIRONMENT_VARIABLE + suffix) for suffix in ("", "_FILE"))
