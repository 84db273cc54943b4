"""`tacit keys` as people and scripts use it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cloud.cli.keys import app
from codec import load_key_ring
from tests.processes import BIN


class Command:
    """Runs `tacit keys` with its files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ring = folder / "keyring.json"
        self.environment = {"TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml")}

    def run(
        self, *arguments: str, code: int = 0, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Result:
        environment: dict[str, str | None] = dict.fromkeys(
            name for name in os.environ if name.startswith("TEMPORAL_")
        )
        environment |= self.environment | dict(env or {})
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(app, arguments, input=stdin, env=environment)
        assert done.exit_code == code, done.stderr
        return done

    def json(self, *arguments: str, stdin: bytes = b"") -> object:
        return json.loads(self.run(*arguments, "--output", "json", stdin=stdin).stdout)

    def states(self) -> dict[str, str]:
        return {key.id: key.state.value for key in load_key_ring(self.ring).keys}


@pytest.fixture
def keys(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_a_key_from_its_making_to_its_end(keys: Command) -> None:
    made = keys.json("init", "--binding", "orders.acme", "--key-id", "k1")
    assert made == {"key_ring": str(keys.ring), "binding": "orders.acme", "key_id": "k1"}
    assert 'key-ring = "' + str(keys.ring) in (keys.folder / "tacit.toml").read_text()
    keys.run("rotate", "--key-id", "k2")
    keys.run("disable", "k1")
    assert keys.states() == {"k1": "disabled", "k2": "active"}
    keys.run("enable", "k1")
    keys.run("rotate", "--prepare", "--key-id", "k3")
    assert keys.states() == {"k1": "decrypt-only", "k2": "active", "k3": "decrypt-only"}
    keys.run("activate", "k3")
    assert keys.states() == {"k1": "decrypt-only", "k2": "decrypt-only", "k3": "active"}
    listed = keys.json("list")
    assert isinstance(listed, list)
    assert [(row["key_id"], row["state"], row["age_days"]) for row in listed][2] == ("k3", "active", 0)
    text = keys.run("list").stdout
    assert "k3" in text
    for key in load_key_ring(keys.ring).keys:
        assert key.material.reveal().hex() not in text + json.dumps(listed)


def test_a_second_profile_gets_a_ring_of_its_own_name(keys: Command) -> None:
    keys.run("init", "--key-id", "k1")
    (keys.folder / "temporal.toml").write_text(
        '[profile.orders]\naddress = "localhost:1"\nnamespace = "orders.acme"\n'
        '[profile.more]\naddress = "localhost:1"\nnamespace = "more.acme"\n'
    )
    listed = keys.run("list", "--profile", "orders", code=1).stderr
    assert "orders.keyring.json" in listed
    made = keys.json("init", "--profile", "orders", "--key-id", "k2")
    assert made == {
        "key_ring": str(keys.folder / "orders.keyring.json"),
        "binding": "orders.acme",
        "key_id": "k2",
    }
    assert [row["key_id"] for row in keys.json("list", "--profile", "orders")] == ["k2"]  # type: ignore[attr-defined]
    (keys.folder / "more.keyring.json").write_text("mine")
    refused = keys.run("init", "--profile", "more", code=1).stderr
    assert "exists already" in refused
    assert "--key-ring FILE" in refused
    assert "[profile.more]" in refused


def test_a_profile_of_the_default_namespace_in_tacit_toml_alone_is_seen(keys: Command) -> None:
    keys.run("init", "--key-id", "k1")
    (keys.folder / "temporal.toml").write_text(
        '[profile.other]\naddress = "localhost:1"\nnamespace = "default"\n'
    )
    assert "has keys for 'default' already" in keys.run("init", "--profile", "other", code=1).stderr


def test_a_key_is_destroyed_only_when_meant(keys: Command) -> None:
    keys.run("init", "--binding", "a", "--key-id", "k1")
    keys.run("rotate", "--key-id", "k2")
    assert "give --yes" in keys.run("destroy", "k1", code=2).stderr
    assert "tacit keys rotate" in keys.run("destroy", "k2", "--yes", code=1).stderr
    assert keys.states() == {"k1": "decrypt-only", "k2": "active"}
    done = keys.json("destroy", "k1", "--yes")
    assert isinstance(done, dict)
    assert (done["key_id"], done["state"]) == ("k1", "destroyed")
    listed = keys.json("list")
    assert isinstance(listed, list)
    assert [(row["key_id"], row["state"], row["destroyed"] is not None) for row in listed] == [
        ("k2", "active", False),
        ("k1", "destroyed", True),
    ]
    assert "nothing to export" in keys.run("export", "k1", code=1).stderr


@pytest.mark.parametrize(("typed", "code"), [(b"k1\n", 0), (b"k2\n", 1), (b"\n", 1)])
def test_destroying_asks_for_the_id(keys: Command, typed: bytes, code: int) -> None:
    keys.run("init", "--binding", "a", "--key-id", "k1")
    keys.run("rotate", "--key-id", "k2")
    master, slave = os.openpty()
    try:
        os.write(master, typed)
        command = [BIN / "tacit", "keys", "destroy", "k1", "--key-ring", keys.ring]
        done = subprocess.run(
            command,
            stdin=slave,
            capture_output=True,
            check=False,
            env={**os.environ, **keys.environment},
            timeout=60,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == code, done.stderr
    assert b"Type k1 to go on" in done.stderr
    assert ("k1" in keys.states()) == (code != 0)


def test_binding_is_the_profiles_namespace_by_default(keys: Command) -> None:
    keys.run("init", env={"TEMPORAL_NAMESPACE": "billing.acme"})
    assert load_key_ring(keys.ring).binding == "billing.acme"


def test_a_second_ring_for_the_same_binding_needs_a_word(keys: Command) -> None:
    (keys.folder / "temporal.toml").write_text(
        '[profile.default]\nnamespace = "orders.acme"\n[profile.cloud]\nnamespace = "orders.acme"\n'
    )
    keys.run("init")
    second = ("init", "--profile", "cloud", "--key-ring", "second.json")
    refused = keys.run(*second, code=1)
    assert (
        f'set key-ring = "{keys.ring}" in [profile.cloud] of {keys.folder / "tacit.toml"}' in refused.stderr
    )
    assert not (keys.folder / "second.json").exists()
    keys.run(*second, "--binding", "stock.acme", "--second")
    keys.run("init", "--profile", "cloud", "--key-ring", "third.json", "--second")
    assert load_key_ring(keys.folder / "third.json").binding == "orders.acme"


def test_a_ring_beside_a_key_service_of_the_same_binding_needs_a_word(keys: Command) -> None:
    (keys.folder / "temporal.toml").write_text(
        '[profile.default]\nnamespace = "orders.acme"\n[profile.cloud]\nnamespace = "orders.acme"\n'
    )
    (keys.folder / "tacit.toml").write_text(
        'version = 1\n[profile.default]\nkey-provider = "aws-kms:alias/x"\n'
    )
    refused = keys.run("init", "--profile", "cloud", code=1)
    assert 'set key-provider = "aws-kms:alias/x" in [profile.cloud]' in refused.stderr


def test_keys_go_to_another_ring(keys: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    keys.run("init", "--binding", "a", "--key-id", "k1")
    other = Command(tmp_path_factory.mktemp("other"))
    other.run("init", "--binding", "a", "--key-id", "o1")
    exported = keys.run("export").stdout_bytes
    imported = other.json("import", "-", "--activate", stdin=exported)
    assert isinstance(imported, list)
    assert imported[0]["key_id"] == "k1"
    assert other.states() == {"o1": "decrypt-only", "k1": "active"}
    keys.run("rotate", "--key-id", "k2")
    keys.run("export", "k1", "k2", "--to", "out.json")
    assert (keys.folder / "out.json").stat().st_mode & 0o777 == 0o600
    other.run("import", str(keys.folder / "out.json"))
    assert other.states() == {"o1": "decrypt-only", "k1": "active", "k2": "decrypt-only"}


def test_bare_key_of_another_program(keys: Command) -> None:
    keys.run("init", "--binding", "a", "--key-id", "k1")
    secret = b"test-key-test-key-test-key-test!"
    keys.run("import", "-", "--raw", "test", stdin=secret)
    key = load_key_ring(keys.ring).find("test")
    assert key is not None
    assert key.material.reveal() == secret
    keys.run("import", "-", "--raw", "test", stdin=secret.hex().encode() + b"\n")
    error = keys.run("import", "-", "--raw", "bad", stdin=b"short", code=1).stderr
    assert "A bare key" in error or "A key has 32 bytes" in error


def test_a_ring_is_made_of_what_was_exported(keys: Command) -> None:
    keys.run("init", "--binding", "orders.acme", "--key-id", "k1")
    keys.run("rotate", "--key-id", "k2")
    keys.run("rotate", "--key-id", "k3")
    keys.run("disable", "k2")
    keys.run("export", "k1", "k3", "k2", "--to", "out.json")
    lost = keys.run("import", "out.json", "--key-ring", "m2.json", code=1).stderr
    assert "--new" in lost
    keys.run("import", "out.json", "--key-ring", "m2.json", "--new")
    made = load_key_ring(keys.folder / "m2.json")
    assert made.binding == "orders.acme"
    assert {key.id: key.state.value for key in made.keys} == {
        "k1": "decrypt-only",
        "k2": "disabled",
        "k3": "active",
    }
    assert "exists already" in keys.run("import", "out.json", "--key-ring", "m2.json", "--new", code=1).stderr
    keys.run("import", "out.json", "--key-ring", "m3.json", "--new", "--raw", "x", code=2)
    keys.run("export", "k2", "--to", "disabled.json")
    assert "were disabled" in keys.run("import", "disabled.json", "-k", "m4.json", "--new", code=1).stderr


def test_a_ring_beside_the_profiles_own_is_not_taken_for_it(keys: Command) -> None:
    keys.run("init", "--binding", "a")
    said = keys.run("init", "--binding", "a", "--key-ring", "m2.json").stderr
    assert f"still uses {keys.ring}" in " ".join(said.split())


def test_a_key_that_was_destroyed_before_is_told_of(keys: Command) -> None:
    keys.run("init", "--binding", "a", "--key-id", "k1")
    keys.run("rotate", "--key-id", "k2")
    assert "destroyed already" not in keys.run("destroy", "k1", "--yes").stderr
    before = keys.ring.read_bytes()
    assert "destroyed already" in keys.run("destroy", "k1").stderr
    assert keys.ring.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["list", "--key-ring", "lost.json"], 1, "There is no key ring at lost.json"),
        (["init", "--binding", "a"], 1, "exists already"),
        (["disable", "k1"], 1, "tacit keys rotate"),
        (["disable", "k9"], 1, "There is no key 'k9'"),
        (["activate", "k9"], 1, "There is no key 'k9'"),
        (["rotate", "--key-id", "a b"], 1, "is no key id"),
        (["rotate", "--key-id", "k1"], 1, "several keys with the id 'k1'"),
        (["export", "k9"], 1, "There is no key 'k9'"),
        (["import", "lost.json"], 1, "There is no file of keys at lost.json"),
        (["import", "-"], 1, "cut or damaged"),
        (["list", "--profile", "lost"], 1, "There is no profile 'lost'"),
        (["disable"], 2, "Missing argument"),
        (["list", "--output", "xml"], 2, "Invalid value"),
        (["melt"], 2, "No such command"),
    ],
)
def test_faults_are_one_sentence(keys: Command, arguments: list[str], code: int, message: str) -> None:
    keys.run("init", "--binding", "a", "--key-id", "k1")
    done = keys.run(*arguments, code=code)
    assert done.stdout == ""
    assert message in done.stderr
    if code == 1:
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert keys.states() == {"k1": "active"}


def test_keys_of_another_binding_need_a_word(keys: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Command(tmp_path_factory.mktemp("other"))
    other.run("init", "--binding", "b", "--key-id", "o1")
    keys.run("init", "--binding", "a", "--key-id", "k1")
    exported = other.run("export").stdout_bytes
    assert "the binding 'b'" in keys.run("import", "-", stdin=exported, code=1).stderr
    keys.run("import", "-", "--any-binding", stdin=exported)
    assert keys.states() == {"k1": "active", "o1": "decrypt-only"}


def test_open_ring_is_refused(keys: Command) -> None:
    keys.run("init", "--binding", "a")
    keys.ring.chmod(0o644)
    assert "chmod 600" in keys.run("list", code=1).stderr


def test_the_installed_command(tmp_path: Path) -> None:
    environment = {**os.environ, "TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml")}
    for arguments, code in ((["init", "--binding", "a"], 0), (["init", "--binding", "a"], 1), (["melt"], 2)):
        command = [BIN / "tacit", "keys", *arguments]
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr
    assert len(load_key_ring(tmp_path / "keyring.json").keys) == 1


@pytest.mark.parametrize(
    "command",
    [
        "init",
        "list",
        "rotate",
        "activate",
        "disable",
        "enable",
        "destroy",
        "export",
        "import",
        "forget",
        "reseal",
        "check",
    ],
)
def test_help_has_an_example(keys: Command, command: str) -> None:
    assert f"tacit keys {command}" in keys.run(command, "--help").stdout
