"""The real Temporal server, to show that a client of ours works with it as it is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.processes import temporal_dev


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a real server answers: TACIT_SCENARIOS_ADDRESS, else one of our own."""
    if address := os.environ.get("TACIT_SCENARIOS_ADDRESS"):
        yield address
        return
    server = temporal_dev(tmp_path_factory.mktemp("temporal"))
    server.start()
    yield server.address
    server.stop()


@pytest.fixture(autouse=True)
def no_profile_of_the_user(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the profiles and variables of whoever runs them."""
    for name in list(os.environ):
        if name.startswith(("TEMPORAL_", "TACIT_CODEC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", f"{tmp_path}/temporal.toml")
