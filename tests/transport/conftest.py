from __future__ import annotations

from pathlib import Path

import pytest

from cloud.gateway import OwnCertificate


@pytest.fixture
def certificate(tmp_path: Path) -> OwnCertificate:
    return OwnCertificate(tmp_path / "tls", ["localhost", "127.0.0.1"])
