"""`tacit signup`, `namespace`, `cert`, `apikey`, `whoami` against a real gateway over TLS."""

import asyncio
import dataclasses
import json
import shlex
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from cloud.cli.account_client import AccountClient, CallFailed
from cloud.cli.tenancy_commands import app
from cloud.controlplane.signup import Signup, SignupPolicy
from cloud.controlplane.signup_call import SIGNUP_METHOD
from cloud.gateway import Gateway, OwnCertificate, api_key_listener
from cloud.gateway.method_table import METHOD_TABLE, account_row
from codec import load_key_ring
from sdk import CodecSettings, Encryption, load_profile, write_settings
from sdk.converter import options_of
from tenancy.access import GuardMode, NotAuthenticated

from .conftest import NOW, Plane

TOKEN = "the-operators-token"


@dataclass
class Person:
    """Somebody at a machine with an empty home, and a service to call."""

    home: Path
    address: str
    server_ca: Path

    @property
    def config(self) -> Path:
        return self.home / "temporalio" / "temporal.toml"

    @property
    def environment(self) -> dict[str, str | None]:
        unset = dict.fromkeys(
            ("TEMPORAL_PROFILE", "TEMPORAL_ADDRESS", "TEMPORAL_API_KEY", "TEMPORAL_NAMESPACE")
        )
        return {
            **unset,
            "TEMPORAL_CONFIG_FILE": str(self.config),
            "TACIT_SIGNUP_TOKEN": TOKEN,
            "COLUMNS": "100",
        }

    async def run(self, *arguments: str, **environment: str) -> Result:
        def run() -> Result:
            return CliRunner().invoke(app, arguments, env={**self.environment, **environment})

        return await asyncio.to_thread(run)

    async def say(self, *arguments: str) -> Any:
        """Run a command that must succeed; returns its JSON."""
        result = await self.run(*arguments, "--output", "json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    async def sign_up(self, *more: str) -> Any:
        return await self.say(
            "signup",
            *("--email", "ada@example.com", "--namespace", "orders"),
            *("--address", self.address, "--server-ca", str(self.server_ca)),
            *more,
        )


@pytest.fixture
async def person(plane: Plane, tmp_path: Path) -> AsyncIterator[Person]:
    signup = Signup(plane.tenancy, SignupPolicy.TOKEN, token=TOKEN, clock=time.monotonic)
    row = account_row(SIGNUP_METHOD, public=True)
    gateway = Gateway(
        plane.tenancy.directory,
        {}.__getitem__,
        {**plane.control_plane.handlers_by_path(), SIGNUP_METHOD.path: signup.handle},
        default_cell="local",
        table={**METHOD_TABLE, row.path: row},
    )
    certificate = OwnCertificate(tmp_path / "server", ["localhost", "127.0.0.1"])
    listener = api_key_listener(gateway, certificate, host="127.0.0.1", port=0)
    port = await listener.start()
    server_ca = tmp_path / "server-ca.pem"
    server_ca.write_bytes(certificate.ca_pem)
    plane.clock.now = NOW.now(NOW.tzinfo)  # the commands make certificates by the real time
    # The service shares this process, and its log must not get among what a command says.
    with capture_logs():
        yield Person(tmp_path / "home", f"127.0.0.1:{port}", server_ca)
    await listener.stop()


async def test_from_nothing_to_an_encrypted_namespace(plane: Plane, person: Person) -> None:
    made = await person.sign_up("--organization", "Acme", "--object-store", "file:///srv/objects")
    assert made["namespace"] == f"orders.{made['account']}"
    assert made["state"] == "active"

    worker = load_profile(config_file=person.config, environment={})
    assert worker.namespace == made["namespace"]
    assert worker.address == "cloud.example:7233"
    assert worker.codec.encryption is Encryption.ON
    assert worker.codec.object_store == "file:///srv/objects"
    assert worker.codec.key_ring is not None
    assert load_key_ring(worker.codec.key_ring).binding == made["namespace"]

    # The certificate that the profile names is one that the namespace accepts.
    tls = worker.connection.tls
    assert tls is not None
    assert isinstance(tls.client_cert, Path)
    leaf = tls.client_cert.read_bytes()
    now = plane.clock.now
    assert plane.tenancy.directory.authenticate_certificate(leaf, (), made["namespace"], now)

    secrets = [*person.home.rglob("*.key"), worker.codec.key_ring, person.config]
    assert len(secrets) == 4
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in plane.folder.glob("control.db*"):
        assert b"PRIVATE KEY" not in path.read_bytes()

    identity = await person.say("whoami")
    assert (identity["account"], identity["name"], identity["role"]) == (
        made["account"],
        "ada@example.com",
        "owner",
    )
    assert identity["namespaces"] == {made["namespace"]: "admin"}


@pytest.mark.parametrize(("worker_profile", "named"), [("default", ""), ("work", "'work'")])
async def test_what_to_keep_and_what_to_do_stand_last(
    person: Person, worker_profile: str, named: str
) -> None:
    signed_up = await person.run(
        *(
            "signup",
            "--email",
            "ada@example.com",
            "--namespace",
            "orders",
            "--worker-profile",
            worker_profile,
        ),
        *("--address", person.address, "--server-ca", str(person.server_ca)),
    )
    assert signed_up.exit_code == 0, signed_up.stderr
    # The two streams as a terminal shows them.
    *table, keep, following = signed_up.output.rstrip("\n").split("\n")
    ring = next((person.config.parent).glob("orders.*/keyring.json"))
    assert keep.startswith(f"Keep a copy of {ring}: ")
    assert (
        following
        == f"Next: `await sdk.connect({named})` in a worker or client connects to {ring.parent.name}."
    )
    assert table[0].startswith("account")
    assert any(line.startswith("config file") and str(person.config) in line for line in table)

    created = await person.run("namespace", "create", "stock")
    assert created.output.rstrip("\n").split("\n")[-1].startswith("Next: `await sdk.connect('stock')`")


async def test_an_api_key_reads_what_a_certificate_writes(person: Person, tmp_path: Path) -> None:
    await person.sign_up("--object-store", "file:///srv/objects")
    worker, cloud = (
        load_profile(name, config_file=person.config, environment={}) for name in ("default", "cloud")
    )
    assert cloud.codec == worker.codec
    assert options_of(cloud) == options_of(worker)

    # A namespace of its own has a ring of its own: the API key's profile stays with the first one.
    await person.say("namespace", "create", "stock")
    assert load_profile("cloud", config_file=person.config, environment={}).codec == worker.codec

    again = await person.sign_up("--replace", "--dir", str(tmp_path / "again"))
    replaced = load_profile("cloud", config_file=person.config, environment={})
    assert replaced.codec.binding == again["namespace"]
    assert replaced.codec.key_ring == Path(again["key_ring"])


async def test_a_namespace_that_signup_could_not_make_gives_the_api_key_its_ring_too(person: Person) -> None:
    made = await person.sign_up()
    write_settings(person.config, "cloud", CodecSettings())  # as when signup broke off
    await person.say("namespace", "delete", "orders", "--yes")
    await person.say("namespace", "create", "orders", "--worker-profile", "again")
    cloud = load_profile("cloud", config_file=person.config, environment={})
    assert cloud.codec.key_ring == Path(made["key_ring"])


async def test_signup_finds_what_is_wrong_before_anything_is_made(plane: Plane, person: Person) -> None:
    good = ("--address", person.address, "--server-ca", str(person.server_ca), "--email", "ada@example.com")
    empty = person.server_ca.with_name("empty-token")
    empty.write_text("\n")
    for arguments, said in (
        (("--namespace", "Bad"), "2-39"),
        (("--namespace", "orders", "--server-ca", "nowhere.pem"), "nowhere.pem"),
        (("--namespace", "orders", "--token-file", "nowhere"), "nowhere"),
        (("--namespace", "orders", "--token-file", str(empty)), "is empty"),
        (("--namespace", "orders", "--profile", "default"), "same profile"),
    ):
        result = await person.run("signup", *good, *arguments)
        assert result.exit_code == 2, result.stderr
        assert said in result.stderr
        assert "Traceback" not in result.stderr
    assert plane.tenancy.directory.version == 0


async def test_signup_refusals_are_one_sentence(plane: Plane, person: Person) -> None:
    arguments = (
        "signup",
        "--address",
        person.address,
        "--server-ca",
        str(person.server_ca),
        "--namespace",
        "orders",
    )
    by_ada = (*arguments, "--email", "ada@example.com")
    refused = await person.run(*by_ada, TACIT_SIGNUP_TOKEN="wrong")
    assert refused.exit_code == 1
    assert "not accepted" in refused.stderr
    assert "wrong" not in refused.stderr
    missing = await person.run(*by_ada, TACIT_SIGNUP_TOKEN="")
    assert missing.exit_code == 1
    assert "Signup needs the operator's token" in missing.stderr
    bad = await person.run(*arguments, "--email", "ada")
    assert bad.exit_code == 1
    assert "ada@example.com" in bad.stderr
    nobody = await person.run(*by_ada, "--address", "127.0.0.1:1")
    assert nobody.exit_code == 1
    assert "is it running" in nobody.stderr
    for result in (refused, missing, bad, nobody):
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
    assert plane.tenancy.directory.version == 0
    assert not list(person.home.rglob("*")), "a signup that was refused leaves nothing behind"


async def test_two_who_choose_the_same_names_get_cas_of_their_own(person: Person) -> None:
    neighbour = dataclasses.replace(person, home=person.home.with_name("neighbour"))
    made = [await one.sign_up("--organization", "Acme") for one in (person, neighbour)]
    subjects = [one["cas"][0]["subject"] for one in made]
    assert subjects == [f"CN={one['namespace']} CA,O=Acme" for one in made]
    assert len(set(subjects)) == 2


async def test_a_second_signup_does_not_take_the_first_ones_key(person: Person) -> None:
    await person.sign_up()
    before = person.config.read_text()
    again = await person.run(
        "signup",
        "--email",
        "b@example.com",
        "--address",
        person.address,
        "--server-ca",
        str(person.server_ca),
    )
    assert again.exit_code == 2
    assert "--replace" in again.stderr
    assert person.config.read_text() == before


async def test_namespaces_by_command(plane: Plane, person: Person, tmp_path: Path) -> None:
    account = (await person.sign_up())["account"]
    made = await person.say(
        *("namespace", "create", "stock", "--retention-days", "3", "--guard", "observe", "--no-api-keys"),
        *("--search-attribute", "Customer=keyword", "--certificate-filter", "cn=stock*"),
        *("--worker-address", "127.0.0.1:7233", "--delete-protection"),
    )
    assert made["namespace"] == f"stock.{account}"
    assert made["let_in"] == ["certificates"]
    assert plane.tenancy.directory.namespace(made["namespace"]).guard is GuardMode.OBSERVE
    profile = load_profile("stock", config_file=person.config, environment={})
    assert profile.address == "127.0.0.1:7233"
    assert (await person.say("namespace", "get", "stock"))["search_attributes"] == {"Customer": "keyword"}
    listed = await person.say("namespace", "list")
    assert [one["namespace"] for one in listed] == [f"orders.{account}", f"stock.{account}"]

    new_ca = await person.say(
        "cert", "ca", "--name", "new CA", "--organization", "Acme", "--dir", str(tmp_path / "ca")
    )
    changed = await person.say(
        *("namespace", "update", "stock", "--add-ca", new_ca["certificate"], "--retention-days", "5"),
        *("--guard", "off", "--no-delete-protection", "--clear-certificate-filters"),
    )
    assert (changed["retention_days"], changed["guard"], changed["delete_protection"]) == (5, "off", False)
    assert [ca["subject"] for ca in changed["cas"]] == [
        f"CN=stock.{account} CA,O={account}",
        "CN=new CA,O=Acme",
    ]
    assert changed["certificate_filters"] == []

    opened = await person.run("namespace", "update", "stock", "--guard", "off")
    assert opened.stderr == "Payloads in clear are accepted from now on.\n"
    assert (
        "in clear" not in (await person.run("namespace", "update", "stock", "--retention-days", "6")).stderr
    )

    asked = await person.run("namespace", "delete", "stock")
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr
    deleted = await person.run("namespace", "delete", "stock", "--yes")
    assert deleted.exit_code == 0
    assert f"still there: its profile in {person.config}, its certificates and its key ring" in deleted.stderr
    assert load_profile("stock", config_file=person.config, environment={}).codec.key_ring is not None
    gone = await person.run("namespace", "get", "stock")
    assert gone.exit_code == 1
    assert "does not exist" in gone.stderr


async def test_misuse_of_namespace_commands(person: Person) -> None:
    await person.sign_up()
    for arguments in (
        ("create", "Bad"),
        ("create", "orders.abcde"),
        ("create", "x1", "--search-attribute", "A=blob"),
        ("create", "x1", "--certificate-filter", "xx=1"),
        ("create", "x1", "--worker-profile", "default"),
        ("update", "orders", "--ca", "a.pem", "--add-ca", "b.pem"),
        ("update", "orders", "--guard", "maybe"),
    ):
        result = await person.run("namespace", *arguments)
        assert result.exit_code == 2, (arguments, result.stderr)
        assert "Traceback" not in result.stderr


async def test_a_refused_creation_leaves_nothing_behind(person: Person) -> None:
    account = (await person.sign_up())["account"]
    before = sorted(person.home.rglob("*"))
    refused = await person.run("namespace", "create", "stock", "--retention-days", "1000")
    assert refused.exit_code == 1
    assert "retention_days" in refused.stderr
    assert sorted(person.home.rglob("*")) == before
    taken = await person.run("namespace", "create", "orders", "--worker-profile", "again")
    assert taken.exit_code == 1
    assert sorted(person.home.rglob("*")) == before, "what was there before stays"
    await person.say("namespace", "create", "stock")
    assert (person.config.parent / f"stock.{account}" / "keyring.json").exists()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_broken_off_creation_can_be_run_again(
    person: Person, monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode
) -> None:
    account = (await person.sign_up())["account"]
    call = AccountClient.call

    def broken(client: AccountClient, name: str, request: Any) -> Any:
        if name == "CreateNamespace":
            raise CallFailed("the connection broke", code)  # nobody knows what the service did
        return call(client, name, request)

    monkeypatch.setattr(AccountClient, "call", broken)
    assert (await person.run("namespace", "create", "stock")).exit_code == 1
    monkeypatch.undo()
    key = person.config.parent / f"stock.{account}" / "ca.key"
    before = key.read_bytes()
    await person.say("namespace", "create", "stock")
    assert key.read_bytes() == before


async def test_api_keys_by_command(plane: Plane, person: Person) -> None:
    await person.sign_up()
    made = await person.say("apikey", "create", "--name", "ci", "--expires-in", "12h")
    directory = plane.tenancy.directory
    assert directory.authenticate_api_key(made["api_key"], plane.clock.now)
    listed = await person.run("apikey", "list")
    assert made["id"][:8] in listed.stdout
    assert made["api_key"] not in listed.stdout
    assert (await person.say("apikey", "disable", made["id"]))["disabled"] is True
    with pytest.raises(NotAuthenticated):
        directory.authenticate_api_key(made["api_key"], plane.clock.now)
    assert (await person.say("apikey", "enable", made["id"]))["disabled"] is False
    await person.say("apikey", "delete", made["id"], "--yes")
    assert len(await person.say("apikey", "list")) == 1
    for arguments, code in (
        (("delete", "nope", "--yes"), 1),
        (("create", "--name", "x", "--expires-in", "soon"), 2),
    ):
        result = await person.run("apikey", *arguments)
        assert result.exit_code == code


async def test_without_a_good_key(plane: Plane, person: Person) -> None:
    nobody = await person.run("namespace", "list")
    assert nobody.exit_code == 1
    assert "tacit signup" in nobody.stderr
    await person.sign_up()
    wrong = await person.run("namespace", "list", TEMPORAL_API_KEY="not-a-key")
    assert wrong.exit_code == 1
    assert "not valid" in wrong.stderr
    assert "not-a-key" not in wrong.stderr


async def test_an_address_without_tls_is_told(person: Person) -> None:
    await person.sign_up()
    server = grpc.aio.server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        result = await person.run("namespace", "list", "--address", address)
    finally:
        await server.stop(None)
    assert result.exit_code == 1
    assert f"what listens at {address} has no TLS" in result.stderr
    assert "--address" in result.stderr
    assert "OPENSSL" not in result.stderr


async def test_nexus_endpoints_tell_what_is_missing(plane: Plane, person: Person) -> None:
    account = (await person.sign_up())["account"]
    create = ("nexus", "endpoint", "create", "payments", "--target-task-queue", "pay", "--target-namespace")
    lost = await person.run(*create, "nosuch")
    assert lost.exit_code == 1
    assert f"--target-namespace: the account has no such open namespace: 'nosuch.{account}'" in lost.stderr
    assert "spec." not in lost.stderr
    made = await person.run(*create, "orders")
    assert made.exit_code == 0
    assert "No namespace may call it yet" in made.stderr
    assert "`tacit nexus endpoint update payments --allow-namespace NAMESPACE`" in made.stderr
    lost = await person.run("nexus", "endpoint", "update", "payments", "--target-namespace", "nosuch")
    assert "--target-namespace: the account has no such open namespace" in lost.stderr
    assert (
        await person.run("nexus", "endpoint", "update", "payments", "--allow-namespace", "orders")
    ).stderr == ""


async def test_a_foreign_server_gets_no_key(person: Person, tmp_path: Path) -> None:
    await person.sign_up()
    other = OwnCertificate(tmp_path / "other", ["localhost"])
    (tmp_path / "other.pem").write_bytes(other.ca_pem)
    result = await person.run("whoami", "--server-ca", str(tmp_path / "other.pem"))
    assert result.exit_code == 1
    assert "--server-ca" in result.stderr


async def test_certificates_by_command(person: Person, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    ca = await person.say("cert", "ca", "--name", "A CA", "--organization", "Acme", "--dir", str(folder))
    issued = await person.say(
        *(
            "cert",
            "issue",
            "--ca",
            ca["certificate"],
            "--ca-key",
            ca["key"],
            "--name",
            "w1",
            "--unit",
            "Payments",
        ),
        *("--dir", str(folder), "--file", "w1"),
    )
    assert issued["issuer"] == ca["subject"]
    (shown,) = await person.say("cert", "show", issued["certificate"])
    assert shown["fingerprint"] == issued["fingerprint"]
    assert (shown["is_ca"], ca["is_ca"]) == (False, True)
    again = await person.run("cert", "ca", "--name", "A CA", "--organization", "Acme", "--dir", str(folder))
    assert again.exit_code == 1
    assert "not overwritten" in again.stderr
    for arguments in (("show", ca["key"]), ("show", "nowhere.pem")):
        assert (await person.run("cert", *arguments)).exit_code == 2


async def test_the_examples_of_certificates_work_one_after_the_other_as_printed(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("ca", "issue", "show"):
        told = (await person.run("cert", command, "--help", COLUMNS="200")).stdout
        example = told.split("Example: tacit ")[1].split("\n")[0]
        done = await person.run(*shlex.split(example))
        assert done.exit_code == 0, (example, done.stderr)
    assert sorted(path.name for path in (tmp_path / "certs").iterdir()) == [
        *("ca.key", "ca.pem", "client.key", "client.pem")
    ]
    assert not person.config.parent.exists()


@pytest.mark.parametrize(
    "command",
    [
        ("signup",),
        ("whoami",),
        *(("namespace", name) for name in ("create", "list", "get", "update", "delete")),
        *(("cert", name) for name in ("ca", "issue", "show")),
        *(("apikey", name) for name in ("create", "list", "disable", "enable", "delete")),
    ],
)
def test_every_command_has_an_example_and_json(command: tuple[str, ...]) -> None:
    text = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).stdout
    assert f"Example: tacit {' '.join(command)}" in text
    assert "--output" in text
