"""Profiles: Temporal's own file and variables, with ours beside them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
import traceback
from pathlib import Path
from typing import Any

import pytest

import sdk
from codec import KeyRing, WriteFormat, create_key_ring
from sdk import CodecSettings, Encryption, ProfileError, load_profile, settings_file, write_profile
from sdk.converter import options_of
from tests.processes import BIN


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "conf" / "temporal.toml"


def write(config: Path, name: str = "default", **more: Any) -> None:
    write_profile(config, name, **({"address": "localhost:7233", "namespace": "orders.acme"} | more))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_written_and_read_again(config: Path, tmp_path: Path) -> None:
    settings = CodecSettings(
        key_ring=tmp_path / "ring.json",
        binding="other",
        write_format=WriteFormat.SAMPLES,
        samples_writers=7,
        refuse_plaintext=True,
        bind_workflow=True,
        refuse_unbound=True,
        padding=True,
        compression=False,
        object_store="s3://bucket/p",
        offload_threshold_bytes=1000,
        readable_namespaces=("a.acme", "b.acme"),
        object_store_options={"region": "x"},
        offload_types=("Import*",),
        object_store_cache=tmp_path / "cache",
        object_store_cache_bytes=5_000_000,
        blind_index=("CustomerId", "Region"),
        blind_index_key_ring=tmp_path / "index.json",
    )
    files = {name: tmp_path / name for name in ("ca.pem", "client.pem", "client.key")}
    for path in files.values():
        path.write_text("pem")
    write(
        config,
        "prod",
        server_ca_pem_path=files["ca.pem"],
        client_cert_path=files["client.pem"],
        client_key_path=files["client.key"],
        server_name="tacit.example",
        codec=settings,
    )
    assert mode(config) == mode(settings_file(config)) == 0o600
    profile = load_profile("prod", config_file=config, environment={})
    assert (profile.name, profile.address, profile.namespace) == ("prod", "localhost:7233", "orders.acme")
    assert profile.codec == settings
    tls = profile.connection.tls
    assert tls is not None
    assert (tls.disabled, tls.server_name) == (False, "tacit.example")
    assert (tls.server_root_ca_cert, tls.client_cert, tls.client_private_key) == tuple(files.values())


def test_other_profiles_and_foreign_fields_stay(config: Path) -> None:
    config.parent.mkdir()
    config.write_text(
        '[profile.old]\naddress = "old:1"\n[profile.old.codec]\nendpoint = "http://c"\n'
        '[profile.default]\naddress = "was:1"\napi_key = "was"\n[profile.default.grpc_meta]\nteam = "x"\n'
    )
    write(config, codec=CodecSettings(encryption=Encryption.OFF))
    write(config, "second")
    document = tomllib.loads(config.read_text())
    assert document["profile"]["old"] == {"address": "old:1", "codec": {"endpoint": "http://c"}}
    assert document["profile"]["default"] == {
        "address": "localhost:7233",
        "namespace": "orders.acme",
        "tls": {"disabled": False},
        "grpc_meta": {"team": "x"},
    }
    assert load_profile(config_file=config, environment={}).codec.encryption is Encryption.OFF
    assert load_profile("second", config_file=config, environment={}).codec == CodecSettings()
    write(config, api_key="new")
    profile = load_profile(config_file=config, environment={})
    assert profile.connection.api_key == "new"
    assert profile.codec.encryption is Encryption.OFF


def test_environment_replaces_the_files(config: Path, tmp_path: Path) -> None:
    write(config, "prod", codec=CodecSettings(key_ring=tmp_path / "ring.json"))
    environment = {
        "TEMPORAL_CONFIG_FILE": str(config),
        "TEMPORAL_PROFILE": "prod",
        "TEMPORAL_NAMESPACE": "x.acme",
        "TEMPORAL_API_KEY": "key",
        "TACIT_CODEC_KEY_RING": "/other.json",
        "TACIT_CODEC_COMPRESSION": "false",
        "TACIT_CODEC_REFUSE_PLAINTEXT": "1",
        "TACIT_CODEC_BIND_WORKFLOW": "true",
        "TACIT_CODEC_REFUSE_UNBOUND": "0",
        "TACIT_CODEC_PADDING": "1",
        "TACIT_CODEC_SAMPLES_WRITERS": "9",
        "TACIT_CODEC_OFFLOAD_THRESHOLD_BYTES": "5",
        "TACIT_CODEC_READABLE_NAMESPACES": "a, b",
        "TACIT_CODEC_OBJECT_STORE_OPTIONS": "region=x, endpoint=http://h:1/?a=b",
        "TACIT_CODEC_WRITE_FORMAT": "samples",
        "TACIT_CODEC_OFFLOAD_TYPES": "Import*,resize",
        "TACIT_CODEC_OBJECT_STORE_CACHE": "/cache",
        "TACIT_CODEC_OBJECT_STORE_CACHE_BYTES": "2000000",
        "TACIT_CODEC_BLIND_INDEX": "CustomerId",
        "TACIT_CODEC_BLIND_INDEX_KEY_RING": "/index",
    }
    profile = load_profile(environment=environment)
    assert (profile.name, profile.address, profile.namespace) == ("prod", "localhost:7233", "x.acme")
    assert profile.connection.api_key == "key"
    assert profile.codec == CodecSettings(
        key_ring=Path("/other.json"),
        compression=False,
        refuse_plaintext=True,
        samples_writers=9,
        bind_workflow=True,
        padding=True,
        offload_threshold_bytes=5,
        readable_namespaces=("a", "b"),
        object_store_options={"region": "x", "endpoint": "http://h:1/?a=b"},
        write_format=WriteFormat.SAMPLES,
        offload_types=("Import*", "resize"),
        object_store_cache=Path("/cache"),
        object_store_cache_bytes=2_000_000,
        blind_index=("CustomerId",),
        blind_index_key_ring=Path("/index"),
    )


def test_nothing_at_all_is_the_default_profile(tmp_path: Path) -> None:
    profile = load_profile(config_file=tmp_path / "none.toml", environment={})
    assert (profile.name, profile.address, profile.namespace) == ("default", "127.0.0.1:7233", "default")
    assert profile.codec == CodecSettings()
    named = load_profile(
        "default", config_file=tmp_path / "none.toml", environment={"TEMPORAL_ADDRESS": "a:1"}
    )
    assert named.address == "a:1"


def test_files_lie_where_temporal_looks(tmp_path: Path) -> None:
    for environment, expected in (
        ({"HOME": "/h"}, "/h/.config/temporalio/temporal.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/x/temporalio/temporal.toml"),
        ({"HOME": "/h", "TEMPORAL_CONFIG_FILE": "/c/t.toml"}, "/c/t.toml"),
    ):
        if sys.platform == "linux":
            assert sdk.default_config_file(environment) == Path(expected)


def test_relative_key_ring_is_beside_the_file(config: Path) -> None:
    config.parent.mkdir()
    settings_file(config).write_text('version = 1\n[profile.default]\nkey-ring = "ring.json"\n')
    assert load_profile(config_file=config, environment={}).codec.key_ring == config.parent / "ring.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("version = 2", "has version 2, and this Tacit reads 1"),
        ("[profile.default]", "has version None"),
        ("version = 1\n[other]", "a table 'other'"),
        ("version = 1\nprofile = 3", "profile is not a table"),
        ("version = 1\n[profile]\ndefault = 3", r"profile\.default is not a table"),
        (
            "version = 1\n[profile.default]\nkeyring = 'x'",
            "no setting 'keyring'; there are encryption, key-ring",
        ),
        ("version = 1\n[profile.default]\nencryption = false", 'encryption must be "on" or "off"'),
        ("version = 1\n[profile.default]\ncompression = 'no'", "compression must be true or false"),
        ("version = 1\n[profile.default]\noffload-threshold-bytes = -1", "must be a number of bytes"),
        ("version = 1\n[profile.default]\noffload-threshold-bytes = true", "must be a number of bytes"),
        ("version = 1\n[profile.default]\nsamples-writers = 0", "must be a number of machines"),
        ("version = 1\n[profile.default]\nbinding = ''", "binding must be a text"),
        ("version = 1\n[profile.default]\nreadable-namespaces = 'a'", "must be a list of names"),
        ("version = 1\n[profile.default]\nobject-store-options = {a = 1}", "must be a table of texts"),
        ("version = 1\n[profile.default\n", "not valid TOML"),
        ("\xff", "not valid TOML"),
    ],
)
def test_wrong_settings_are_refused(config: Path, content: str, message: str) -> None:
    config.parent.mkdir()
    settings_file(config).write_bytes(content.encode("latin-1"))
    with pytest.raises(ProfileError, match=message) as caught:
        load_profile(config_file=config, environment={})
    assert "tacit.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("COMPRESSION", "maybe"), ("OFFLOAD_THRESHOLD_BYTES", "1k"), ("ENCRYPTION", "no"), ("KEY_RING", "")],
)
def test_wrong_variables_are_refused(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ProfileError, match=f"TACIT_CODEC_{variable} must be"):
        load_profile(config_file=tmp_path / "x", environment={f"TACIT_CODEC_{variable}": value})


@pytest.mark.parametrize("content", ["[profile", "profile = 3", "[profile]\ndefault = 3", "\xff"])
def test_damaged_connection_file_is_refused_and_kept(config: Path, content: str) -> None:
    config.parent.mkdir()
    config.write_bytes(content.encode("latin-1"))
    with pytest.raises(ProfileError, match=r"temporal\.toml"):
        load_profile(config_file=config, environment={})
    with pytest.raises(ProfileError, match=r"temporal\.toml"):
        write(config)
    assert config.read_bytes() == content.encode("latin-1")


def test_unknown_profile_is_named_with_those_that_are(config: Path) -> None:
    write(config, "prod")
    with pytest.raises(ProfileError, match=r"no profile 'nope' in .*\(there: prod\)"):
        load_profile("nope", config_file=config, environment={})


def test_half_a_certificate_and_a_key_in_the_clear_are_refused(config: Path) -> None:
    with pytest.raises(ProfileError, match="go together"):
        write(config, client_cert_path=Path("c.pem"))
    with pytest.raises(ProfileError, match="are for TLS"):
        write(config, server_name="x", tls=False)
    for address in ("cloud.example:7234", "10.0.0.1:7234", "localhost.evil.example:1"):
        with pytest.raises(ProfileError, match="unencrypted"):
            write(config, address=address, api_key="secret", tls=False)
    assert not config.exists()
    for address in ("localhost:7233", "127.0.0.1:1", "[::1]:7233"):
        write(config, address=address, api_key="secret", tls=False)


def test_secrets_do_not_show(config: Path) -> None:
    write(
        config, api_key="hunter2", codec=CodecSettings(object_store_options={"secret_access_key": "hunter2"})
    )
    profile = load_profile(config_file=config, environment={})
    assert "hunter2" not in repr(profile)
    assert "hunter2" not in str(profile.codec)


WRITE = """
import sys
from pathlib import Path
import sdk
for n in range(5):
    sdk.write_profile(Path(sys.argv[1]), f"{sys.argv[2]}{n}", address="a:1", namespace="n",
                      codec=sdk.CodecSettings(binding="b"))
"""


def test_writers_at_once_lose_nothing(config: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", WRITE, str(config), letter]) for letter in "ab"]
    assert [process.wait(60) for process in running] == [0, 0]
    for path in (config, settings_file(config)):
        assert len(tomllib.loads(path.read_text())["profile"]) == 10


class TestConnecting:
    async def test_whoever_begins_is_told_to_make_a_ring_first(self, config: Path) -> None:
        write(config)
        with pytest.raises(
            ProfileError,
            match=r"names no key ring.*Make one: `tacit keys init` .*elsewhere, put a copy of it here",
        ) as caught:
            await sdk.connect(config_file=config)
        assert "encryption = " not in str(caught.value)
        write(config, "orders")
        with pytest.raises(ProfileError, match="`tacit keys init --profile orders`"):
            await sdk.connect(profile="orders", config_file=config)

    async def test_no_key_ring_is_refused(self, config: Path) -> None:
        write(config, codec=CodecSettings())
        with pytest.raises(
            ProfileError, match=r"names no key ring.*put back a copy.*tacit\.toml.*tacit keys init"
        ):
            await sdk.connect(config_file=config)

    async def test_a_lost_key_ring_is_one_sentence(self, config: Path, tmp_path: Path) -> None:
        ring = tmp_path / "keyring.json"
        write(config, codec=CodecSettings(key_ring=ring))
        with pytest.raises(sdk.KeyRingError) as caught:
            await sdk.connect(config_file=config)
        sentence = str(caught.value)
        assert sentence.startswith(f"Profile 'default' can't be used. There is no key ring at {ring}.")
        assert 0 < sentence.index("Put your copy of it back") < sentence.index("tacit keys init")
        # A script that catches nothing shows its own line, the call of connect, and the sentence.
        told = traceback.TracebackException.from_exception(caught.value)
        assert [frame.name for frame in told.stack][-1] == "connect"
        assert not told.stack[-1].filename.endswith("keyring_file.py")
        assert (told.__cause__, told.__suppress_context__) == (None, True)

    async def test_missing_files_are_named(self, config: Path, tmp_path: Path) -> None:
        settings = CodecSettings(encryption=Encryption.OFF)
        write(config, server_ca_pem_path=tmp_path / "lost.pem", codec=settings)
        with pytest.raises(ProfileError, match=r"names the file .*lost\.pem, which cannot be read"):
            await sdk.connect(config_file=config)

    async def test_profile_is_enough(self, config: Path, temporal_address: str) -> None:
        ring = config.parent / "ring.json"
        create_key_ring(ring, KeyRing.create("orders.acme"))
        write(
            config,
            address=temporal_address,
            namespace="default",
            tls=False,
            codec=CodecSettings(key_ring=ring),
        )
        client = await sdk.connect(config_file=config)
        assert client.namespace == "default"
        [payload] = await client.data_converter.encode(["x"])
        assert payload.metadata["encoding"] == b"binary/tacit-encrypted"
        other = await sdk.connect(config_file=config, namespace="orders", lazy=True)
        assert other.namespace == "orders"

    async def test_official_cli_reads_the_same_file(self, config: Path, temporal_address: str) -> None:
        settings = CodecSettings(key_ring=Path("ring.json"), object_store="s3://b")
        write(config, "prod", address=temporal_address, namespace="default", tls=False, codec=settings)
        command = [BIN / "temporal", "--config-file", config, "--profile", "prod"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}

        async def cli(*arguments: str) -> None:
            process = await asyncio.create_subprocess_exec(
                *command, *arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
            )
            _, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()

        await cli("workflow", "list")
        # What it writes back, it writes without loss of ours.
        await cli("config", "set", "--prop", "namespace", "--value", "changed")
        profile = load_profile("prod", config_file=config, environment={})
        assert profile.namespace == "changed"
        assert profile.codec.object_store == "s3://b"


def test_without_a_key_ring_that_of_another_profile_is_named(config: Path, tmp_path: Path) -> None:
    ring = tmp_path / "orders.json"
    write(config, "default", codec=CodecSettings(key_ring=ring, binding="orders.acme"))
    write(
        config,
        "other",
        codec=CodecSettings(key_ring=tmp_path / "other.json", binding="else"),
        namespace="else",
    )
    write(config, "cloud")
    with pytest.raises(ProfileError) as raised:
        options_of(load_profile("cloud", config_file=config, environment={}))
    told = str(raised.value)
    assert f"Profile 'default' has keys for this namespace: set key-ring = \"{ring}\"" in told
    assert 'binding = "orders.acme"' in told
    assert "other.json" not in told
    assert "keys init" not in told


def test_a_ring_is_found_by_the_binding_in_its_file(config: Path, tmp_path: Path) -> None:
    ring = tmp_path / "ring.json"
    create_key_ring(ring, KeyRing.create("orders.acme"))
    write(config, "old", codec=CodecSettings(key_ring=ring), namespace="moved.acme")
    write(config, "cloud")
    with pytest.raises(ProfileError, match="Profile 'old' has keys"):
        options_of(load_profile("cloud", config_file=config, environment={}))


@pytest.mark.parametrize("name", ["bind-workflow", "refuse-unbound", "padding"])
def test_settings_that_the_samples_format_has_no_room_for(config: Path, name: str) -> None:
    write(config)
    settings_file(config).write_text(
        f"version = 1\n[profile.default]\nkey-ring = 'r'\nwrite-format = 'samples'\n{name} = true\n"
    )
    settings_file(config).chmod(0o600)
    profile = load_profile(config_file=config, environment={})
    with pytest.raises(ProfileError, match=f"sets {name}"):
        options_of(profile)
