"""The whole cloud in this process, called from outside."""

from __future__ import annotations

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from cloud.app.whole import Cloud
from cloud.settings import Settings
from tests.processes import tacit


async def test_ports_that_were_not_chosen_are_told_as_they_are(tmp_path: Path) -> None:
    cloud = Cloud(Settings(data=str(tmp_path), mtls_port=0, api_port=0))
    with capture_logs():
        await cloud.start()
        try:
            made = await asyncio.to_thread(
                tacit,
                *("signup", "--email", "ada@example.com", "--namespace", "orders"),
                *("--address", f"localhost:{cloud.api_port}", "--server-ca", str(cloud.server_ca_path)),
                *("--token-file", str(cloud.signup_token_path)),
                env={"TEMPORAL_CONFIG_FILE": str(tmp_path / "home" / "temporal.toml")},
            )
        finally:
            await cloud.stop()
    assert cloud.mtls_port > 0
    assert made["certificate_address"] == f"localhost:{cloud.mtls_port}"
    assert made["api_key_address"] == f"localhost:{cloud.api_port}"
