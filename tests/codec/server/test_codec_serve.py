"""`tacit codec serve` as people run it: the official CLI shows decrypted histories through it; what it refuses to begin with."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import sdk
from codec import KeyRing, create_key_ring
from codec.server import access_file
from codec.server.access_file import AccessFileError, AccessSettings, read_access_file
from sdk import CodecSettings, data_converter, load_profile, write_profile
from sdk.converter import options_of
from tests.codec.server.oidc import AUDIENCE, oidc
from tests.codec.server.serving import body_of, payloads_of
from tests.processes import BIN, Server, clean_environment, free_port, tacit_dev

TOKEN = "a-token-for-the-cli-of-the-tests"
LARGE = "wholesale " * 50_000


@activity.defn
async def report(of: str) -> str:
    return os.urandom(4_000).hex() + LARGE if of == "large" else of


@workflow.defn
class Confidential:
    def __init__(self) -> None:
        self.ended = ""

    @workflow.run
    async def run(self, customer: str) -> str:
        size: str = await workflow.execute_activity(
            report, "large", start_to_close_timeout=timedelta(seconds=20)
        )
        await workflow.wait_condition(lambda: bool(self.ended))
        return f"{customer}, {len(size)} bytes, {self.ended}"

    @workflow.signal
    def end(self, word: str) -> None:
        self.ended = word

    @workflow.query
    def ask(self, question: str) -> str:
        return f"an answer to {question}"


@dataclass(kw_only=True)
class Setup:
    folder: Path
    config: Path
    dev: Server

    @property
    def env(self) -> dict[str, str]:
        return {"TEMPORAL_CONFIG_FILE": str(self.config)}

    def codec_server(self, *options: str) -> Server:
        port = free_port()
        return Server(
            name="codec server",
            command=[str(BIN / "tacit"), "codec", "serve", "--port", str(port), *options],
            ports=[port],
            log=self.folder / "codec-server.log",
            env=self.env,
        )

    def temporal(self, *arguments: str, fails: bool = False) -> str:
        """The official CLI against the service; what it says."""
        done = subprocess.run(
            [str(BIN / "temporal"), *arguments, "--address", self.dev.address],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=clean_environment() | {"HOME": str(self.folder)},
        )
        assert bool(done.returncode) is fails, done.stderr
        return done.stdout + done.stderr


def data_in(history: str) -> str:
    """All data of payloads in a history that the CLI shows as JSON."""
    found = re.findall(r'"data": "([^"]*)"', history)
    return "\n".join(base64.b64decode(one).decode(errors="replace") for one in found)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with ExitStack() as stack:
        dev = tacit_dev(tmp_path)
        stack.callback(dev.stop)
        dev.start()
        config = tmp_path / "temporal.toml"
        create_key_ring(tmp_path / "ring.json", KeyRing.create("default"))
        settings = CodecSettings(
            key_ring=tmp_path / "ring.json",
            object_store=(tmp_path / "objects").as_uri(),
            offload_threshold_bytes=3_000,
        )
        write_profile(config, "default", address=dev.address, namespace="default", tls=False, codec=settings)
        yield Setup(folder=tmp_path, config=config, dev=dev)


async def test_the_official_cli_shows_what_is_encrypted(setup: Setup) -> None:
    token = setup.folder / "cli.token"
    token.touch(0o600)
    token.write_text(TOKEN + "\n")
    audit = setup.folder / "audit.jsonl"
    server = setup.codec_server("--token-file", str(token), "--audit", str(audit))
    client = await sdk.connect(config_file=setup.config)
    with ExitStack() as stack:
        stack.callback(server.stop)
        await asyncio.to_thread(server.start)
        endpoint = ["--codec-endpoint", f"http://{server.address}/{{namespace}}"]
        through = [*endpoint, "--codec-auth", f"Bearer {TOKEN}"]
        which = ["--workflow-id", "w"]

        async def cli(*arguments: str, fails: bool = False) -> str:
            return await asyncio.to_thread(setup.temporal, *arguments, fails=fails)

        async with Worker(
            client,
            task_queue="q",
            workflows=[Confidential],
            activities=[report],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            start = ["--type", "Confidential", "--task-queue", "q", "--memo", 'note="for Ada only"']
            await cli("workflow", "start", *which, *start, "--input", '"Ada Lovelace"', *through)
            asked = await cli("workflow", "query", *which, "--type", "ask", "--input", '"why"', *through)
            assert "an answer to why" in asked
            await cli("workflow", "signal", *which, "--name", "end", "--input", '"signed off"', *through)
            result = await client.get_workflow_handle("w").result()
            assert result.startswith("Ada Lovelace, 508000 bytes")
            shown = data_in(await cli("workflow", "show", *which, "--output", "json", *through))
            for text in ("Ada Lovelace", "signed off", "for Ada only", "wholesale wholesale", result):
                assert text in shown
            bare = data_in(await cli("workflow", "show", *which, "--output", "json"))
            for text in ("Ada", "signed off", "wholesale", "bytes,"):
                assert text not in bare
            assert "for Ada only" in await cli("workflow", "describe", *which, *through)
            assert "w" in await cli("workflow", "list", *through)
            assert result in await cli("workflow", "result", *which, *through)
            kept = [*through, "--codec-header", "X-Preserve-Storage-Refs=true"]
            shown = data_in(await cli("workflow", "show", *which, "--output", "json", *kept))
            assert "wholesale" not in shown
            assert "tacit.objectstore" in shown
            hurried = ("--output", "json", "--command-timeout", "2s")
            refused = await cli("workflow", "show", *which, *hurried, *endpoint, fails=True)
            assert "Ada" not in refused
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    done = [line for line in lines if line["outcome"] == "done"]
    assert {line["operation"] for line in done} == {"encode", "decode"}
    assert all(line["who"] == {"kind": "token", "subject": "--token-file"} for line in done)
    assert any(line["fetched"] for line in done)
    assert [line["status"] for line in lines if line["outcome"] == "refused"][-1] == 401
    assert "Ada" not in audit.read_text()
    assert audit.stat().st_mode & 0o777 == 0o600


async def test_people_by_their_sign_in_and_rules_that_change(setup: Setup) -> None:
    access = setup.folder / "access.toml"
    async with oidc() as issuer:
        rules = f"""
version = 1
[[issuer]]
url = "{issuer.url}"
audience = ["{AUDIENCE}"]
[[allow]]
emails = ["ada@acme.example"]
namespaces = ["*"]
may = ["decode"]
"""
        access.write_text(rules)
        server = setup.codec_server("--access", str(access), "--output", "json")
        with ExitStack() as stack:
            stack.callback(server.stop)
            await asyncio.to_thread(server.start)
            token = issuer.token(email="ada@acme.example", email_verified=True)

            async def status(operation: str = "decode") -> int:
                url = f"http://{server.address}/default/{operation}"
                headers = {"Authorization": f"Bearer {token}"}
                async with (
                    aiohttp.ClientSession(headers=headers) as client,
                    client.post(url, json={}) as answer,
                ):
                    return answer.status

            assert (await status(), await status("encode")) == (200, 403)
            access.write_text(rules + "[[allow")  # half written
            await asyncio.sleep(2.5)
            assert await status() == 200
            access.write_text(rules.replace("ada@", "bob@"))
            async with asyncio.timeout(20):
                while await status() != 403:
                    await asyncio.sleep(0.2)
    first = json.loads((setup.folder / "codec-server.log").read_text().splitlines()[0])
    assert first == {"url": f"http://{server.address}", "namespaces": ["default"]}


async def test_several_namespaces_each_with_its_keys(tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    sealed = {}
    for name in ("orders", "bills"):
        ring = tmp_path / f"{name}.json"
        create_key_ring(ring, KeyRing.create(name, key_id=f"key-of-{name}"))
        settings = CodecSettings(key_ring=ring)
        write_profile(
            config, name, address="127.0.0.1:1", namespace=f"{name}.acme", tls=False, codec=settings
        )
        converter = data_converter(options_of(load_profile(name, config_file=config, environment={})))
        sealed[name] = body_of(await converter.encode([f"of {name}"]))
    port = free_port()
    profiles = ("--profile", "orders", "--profile", "bills")
    server = Server(
        name="codec server",
        command=[str(BIN / "tacit"), "codec", "serve", "--no-auth", "--port", str(port), *profiles],
        ports=[port],
        log=tmp_path / "codec-server.log",
        env={"TEMPORAL_CONFIG_FILE": str(config)},
    )
    with ExitStack() as stack:
        stack.callback(server.stop)
        await asyncio.to_thread(server.start)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            for name, other in (("orders", "bills"), ("bills", "orders")):
                async with client.post(f"/{name}.acme/decode", data=sealed[name]) as answer:
                    assert payloads_of(await answer.read())[0].data == f'"of {name}"'.encode()
                async with client.post(f"/{name}.acme/decode", data=sealed[other]) as answer:
                    assert answer.status == 400
                    assert f"key-of-{other}" in await answer.text()


def begins(folder: Path, *options: str, code: int) -> str:
    done = subprocess.run(
        [str(BIN / "tacit"), "codec", "serve", "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=folder,
        env=clean_environment() | {"TEMPORAL_CONFIG_FILE": str(folder / "temporal.toml")},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ((), 2, "say who may use the codec server"),
        (("--no-auth", "--ip", "192.0.2.1"), 2, "for loopback only"),
        (("--token-file", "t", "--ip", "192.0.2.1"), 2, "without TLS"),
        (("--no-auth", "--token-file", "t"), 2, "leave out"),
        (("--no-auth", "--origin", "*"), 2, "any web page"),
        (("--token-file", "t", "--origin", "*", "--credentials"), 2, "name the origins"),
        (("--no-auth", "--origin", "localhost"), 2, "no origin"),
        (("--no-auth", "--tls-cert", "c"), 2, "go together"),
        (("--no-auth", "--tls-cert", "c", "--tls-key", "k"), 1, "can't be read"),
        (("--no-auth", "--profile", "none"), 1, "no profile"),
        (("--no-auth",), 1, "tacit keys init"),
        (("--no-auth", "--audit", "no/folder/audit"), 1, "audit file"),
    ],
)
def test_what_it_does_not_begin_with(tmp_path: Path, options: tuple[str, ...], code: int, says: str) -> None:
    assert says in begins(tmp_path, *options, code=code)


def settings_for(folder: Path, *names: str) -> None:
    create_key_ring(folder / "ring.json", KeyRing.create("default"))
    for name in names:
        write_profile(
            folder / "temporal.toml",
            name,
            address="127.0.0.1:1",
            namespace="default",
            tls=False,
            codec=CodecSettings(key_ring=folder / "ring.json"),
        )


def test_files_that_are_wrong(tmp_path: Path) -> None:
    settings_for(tmp_path, "default", "other")
    assert "two profiles" in begins(
        tmp_path, "--no-auth", "--profile", "default", "--profile", "other", code=2
    )
    (tmp_path / "t").write_text(TOKEN)
    (tmp_path / "t").chmod(0o644)
    assert "open to other users" in begins(tmp_path, "--token-file", "t", code=1)
    (tmp_path / "t").chmod(0o600)
    (tmp_path / "t").write_text("short")
    assert "20 or more" in begins(tmp_path, "--token-file", "t", code=1)
    issuer = '[[issuer]]\nurl = "https://a.example"\naudience = ["x"]\n'
    token = '[[token]]\nname = "ci"\nfile = "t2"\n'
    (tmp_path / "t2").touch(0o600)
    (tmp_path / "t2").write_text(TOKEN)
    wrong: dict[str, str] = {
        "": "version = 1",
        "version = 2": "version = 1",
        "version = ": "not valid TOML",
        "version = 1": "nobody who could prove",
        "version = 1\nallows = 1": "no field 'allows'",
        "version = 1\n[allow]\nx = 1": "two brackets",
        f"version = 1\n{issuer}[[allow]]\nnamespaces = ['a']\nmay = ['decode']": "names nobody",
        f"version = 1\n{issuer}[[allow]]\neveryone = true\nmay = ['decode']": "namespaces is missing",
        f"version = 1\n{issuer}[[allow]]\neveryone = true\nnamespaces = ['a']\nmay = ['read']": "may is a list",
        f"version = 1\n{issuer}[[allow]]\neveryone = 1\nnamespaces = ['a']\nmay = ['decode']": "true or false",
        f"version = 1\n{issuer}[[allow]]\nmails = ['a']\nnamespaces = ['a']\nmay = ['decode']": "no field 'mails'",
        f"version = 1\n{issuer}[[allow]]\ntokens = ['a']\nnamespaces = ['a']\nmay = ['decode']": "no [[token]]",
        f"version = 1\n{issuer}[[allow]]\nemails = 'a'\nnamespaces = ['a']\nmay = ['decode']": "list of texts",
        f"version = 1\n{issuer}{issuer}": "same name",
        f"version = 1\n{token}{token}": "same name",
        "version = 1\n[[issuer]]\nurl = 'http://a.example'\naudience = ['x']": "no https address",
        "version = 1\n[[issuer]]\nurl = 'https://a.example'": "audience is missing",
        f"version = 1\n{issuer}algorithms = ['HS256']": "algorithms are of",
        f"version = 1\n{issuer}email-verified = 'no'": "true or false",
        "version = 1\n[[token]]\nname = 'x'\nfile = 'none'": "There is no token",
    }
    other = issuer.replace("a.example", "b.example")
    for two in (issuer + other, issuer + "[service]\napi-keys = true\n"):
        for who in (
            "everyone = true", "emails = ['a@b']", "domains = ['b']", "subjects = ['a']", "groups = ['a']",
        ):  # fmt: skip
            wrong[f"version = 1\n{two}[[allow]]\n{who}\nnamespaces = ['*']\nmay = ['decode']"] = (
                "[[allow]] number 1 does not say whose callers"
            )
    for content, says in wrong.items():
        with pytest.raises(AccessFileError) as caught:
            read(tmp_path, content)
        assert says in str(caught.value), content
        assert "access.toml" in str(caught.value)
        assert TOKEN not in str(caught.value)
    assert says in begins(tmp_path, "--access", "access.toml", code=1)


def test_a_rule_needs_no_issuer_where_one_or_none_can_be_meant(tmp_path: Path) -> None:
    (tmp_path / "ci.token").touch(0o600)
    (tmp_path / "ci.token").write_text(TOKEN)
    issuers = [f"[[issuer]]\nurl = 'https://{one}.example'\naudience = ['x']\n" for one in "ab"]
    service, token = "[service]\napi-keys = true\n", "[[token]]\nname = 'ci'\nfile = 'ci.token'\n"
    for sources, rule in (
        (issuers[0], "everyone = true"),
        (issuers[0] + token, "groups = ['a']"),
        (service, "emails = ['a@b']"),
        (issuers[0] + issuers[1] + service + token, "tokens = ['ci']"),
        (issuers[0] + issuers[1], "issuer = 'https://b.example'\neveryone = true"),
        (issuers[0] + service, "issuer = 'service'\nemails = ['a@b']"),
    ):
        content = f"version = 1\n{sources}[[allow]]\n{rule}\nnamespaces = ['*']\nmay = ['decode']"
        assert len(read(tmp_path, content).rules) == 1


def test_an_access_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    read(tmp_path, "version = 1\n[[issuer]]\nurl = 'https://a.example'\naudience = ['x']")
    path = tmp_path / "access.toml"
    for mode in (0o664, 0o646, 0o666):
        path.chmod(mode)
        with pytest.raises(
            AccessFileError, match=r"access file .*access\.toml can be changed by other users"
        ):
            read_access_file(path)
    path.chmod(0o644)
    read_access_file(path)
    path.write_text("#" * (1024 * 1024 + 1))
    with pytest.raises(AccessFileError, match="larger than"):
        read_access_file(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(AccessFileError, match="not a regular file"):
        read_access_file(path)
    with pytest.raises(AccessFileError, match="There is no access file"):
        read_access_file(tmp_path / "none.toml")


def read(folder: Path, content: str) -> AccessSettings:
    (folder / "access.toml").write_text(content)
    return read_access_file(folder / "access.toml")


def test_the_example_in_the_files_head_is_good(tmp_path: Path) -> None:
    assert access_file.__doc__ is not None
    example = access_file.__doc__.partition("::\n\n")[2].rpartition("\n\n")[0]
    (tmp_path / "ci.token").touch(0o600)
    (tmp_path / "ci.token").write_text(TOKEN)
    settings = read(
        tmp_path,
        "\n".join(line.strip() for line in example.splitlines()).replace('"https://..."', '"https://x"'),
    )
    assert settings.api_keys
    assert [rule.emails for rule in settings.rules] == [frozenset({"ada@acme.example"})]
    assert len(settings.issuers) == len(settings.tokens) == 1
