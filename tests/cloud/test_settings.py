"""Settings: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.settings import Settings, SettingsError, SignupPolicy, Transport, load


def test_later_wins(tmp_path: Path) -> None:
    config = tmp_path / "tacit.toml"
    config.write_text('mtls_port = 1\napi_port = 2\nsignup = "open"\nnames = ["a", "b"]\n')
    environment = {"TACIT_API_PORT": "3", "PATH": "x", "TACIT_TRANSPORT": "grpc"}
    found = load(config, environment, {"data": "/d", "host": None})
    assert found.transport is Transport.GRPC
    assert (found.mtls_port, found.api_port, found.signup) == (1, 3, SignupPolicy.OPEN)
    assert found.names == ("a", "b")
    assert found.database_url == "/d/cell.db"
    assert found.host == Settings().host


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("mtls_prot = 1", {}, "mtls_prot"),
        ("mtls_port = 'x'", {}, "mtls_port"),
        ("signup = 'perhaps'", {}, "perhaps"),
        ("= 1", {}, "no TOML"),
        ("", {"TACIT_TRANSPORT": "carrier pigeon"}, "carrier pigeon"),
        ("", {"TACIT_MTLS_PROT": "1"}, "TACIT_MTLS_PROT"),
        ("certificate = 'c.pem'", {}, "belong together"),
    ],
)
def test_refused(tmp_path: Path, text: str, environment: dict[str, str], words: str) -> None:
    config = tmp_path / "tacit.toml"
    config.write_text(text)
    with pytest.raises(SettingsError, match=words):
        load(config, environment)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load(tmp_path / "none.toml", {})
