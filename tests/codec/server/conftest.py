"""What tests of the codec server share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.codec.server.serving import Served


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A codec server that asks nobody who they are."""
    return Served(tmp_path)
