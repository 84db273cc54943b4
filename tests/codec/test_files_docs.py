"""docs/files.md: its program does what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sdk
from codec import KeyRing, create_key_ring
from sdk.settings import CodecSettings, read_settings
from tests.processes import ROOT, clean_environment, tacit_dev

PAGE = (ROOT / "docs" / "files.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_settings_are_such(tmp_path: Path) -> None:
    [settings] = blocks("toml")
    assert tomllib.loads(settings)["version"] == 1
    (tmp_path / "tacit.toml").write_text(settings)
    assert (
        read_settings(tmp_path / "tacit.toml", "default", {}).object_store == "file:///var/lib/orders/objects"
    )


def test_program_prints_what_the_page_says(tmp_path: Path) -> None:
    [program] = blocks("python")
    (tmp_path / "films.py").write_text(program)
    service = tacit_dev(tmp_path)
    service.start()
    try:
        create_key_ring(tmp_path / "ring.json", KeyRing.create("default"))
        sdk.write_profile(
            tmp_path / "temporal.toml",
            "default",
            address=service.address,
            namespace="default",
            tls=False,
            codec=CodecSettings(
                key_ring=tmp_path / "ring.json", object_store=(tmp_path / "objects").as_uri()
            ),
        )
        done = subprocess.run(
            [sys.executable, "films.py"],
            cwd=tmp_path,
            env={
                **clean_environment(),
                "TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml"),
                "TMPDIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        service.stop()
    [promised] = re.findall(r"^It prints `(.*)`\.$", PAGE, re.MULTILINE)
    # The SDK's own end of the interpreter may abort after all is done; see the README.
    assert done.returncode in (0, -6), done.stderr
    assert done.stdout.strip() == promised, done.stderr


@pytest.mark.parametrize("name", ["put", "open", "download", "delete", "of", "open_files", "using"])
def test_page_names_what_there_is(name: str) -> None:
    assert f"files.{name}(" in PAGE
    assert name in sdk.files.__all__
