import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from billing import UsageCount
from cloud.cli.billing_commands import app
from cloud.cli.usage_client import UsageUnavailable, connection_from
from cloud.rpc import PermissionDenied
from tests.billing.serving import KEY, FixedUsage, self_signed, serving
from tests.billing.test_plan import GOOD

START = datetime(2026, 10, 30, 22, tzinfo=UTC)
PERIOD = ["--from", "2026-10-30", "--to", "2026-11-02"]


def row(hours: int, kind: str, count: int, workflow_type: str = "W", namespace: str = "a.acme") -> UsageCount:
    return UsageCount(
        namespace=namespace,
        hour=START + timedelta(hours=hours),
        kind=kind,
        workflow_type=workflow_type,
        count=count,
    )


ROWS = [
    row(0, "start_workflow", 30),
    row(1, "start_timer", 5),
    row(2, "start_workflow", 10),
    row(30, "schedule_workflow", 3, namespace="b.acme"),
    row(31, "query_workflow", 2, workflow_type=""),
]


@pytest.fixture(autouse=True)
def no_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_API_KEY", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def address() -> Iterator[str]:
    with serving(FixedUsage(ROWS), ["a.acme", "b.acme"]) as where:
        yield where


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "140"})


def rows_of(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.stderr
    listed: list[dict[str, object]] = json.loads(result.stdout)["rows"]
    return listed


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "kind",
            [
                {"kind": "query_workflow", "count": 2, "actions": 2},
                {"kind": "schedule_workflow", "count": 3, "actions": 6},
                {"kind": "start_timer", "count": 5, "actions": 5},
                {"kind": "start_workflow", "count": 40, "actions": 40},
            ],
        ),
        (
            "namespace",
            [
                {"namespace": "a.acme", "count": 47, "actions": 47},
                {"namespace": "b.acme", "count": 3, "actions": 6},
            ],
        ),
        (
            "workflow-type",
            [
                {"workflow_type": "", "count": 2, "actions": 2},
                {"workflow_type": "W", "count": 48, "actions": 51},
            ],
        ),
        (
            "day",
            [
                {"day": "2026-10-30", "count": 35, "actions": 35},
                {"day": "2026-10-31", "count": 10, "actions": 10},
                {"day": "2026-11-01", "count": 5, "actions": 8},
            ],
        ),
    ],
)
def test_usage_as_json(address: str, by: str, expected: list[dict[str, object]]) -> None:
    result = run("usage", "--address", address, *PERIOD, "--by", by, "--output", "json")
    assert rows_of(result) == expected
    assert json.loads(result.stdout)["actions"] == 53


def test_usage_as_a_table(address: str) -> None:
    result = run("usage", "--address", address, *PERIOD)
    assert result.exit_code == 0
    assert "schedule_workflow" in result.stdout
    assert "53 actions from 2026-10-30 00:00 to 2026-11-02 00:00 UTC" in result.stderr


def test_the_chart_has_every_day_and_its_longest_bar_on_the_busiest(address: str) -> None:
    result = run("usage", "--address", address, "--from", "2026-10-29", "--to", "2026-11-02", "--by", "day")
    lines = {line[:10]: line for line in result.stdout.splitlines()}
    bars = {day: lines[day].count("█") for day in ("2026-10-29", "2026-10-30", "2026-10-31", "2026-11-01")}
    assert bars["2026-10-29"] == 0
    assert bars["2026-10-30"] == 40
    assert 0 < bars["2026-11-01"] < bars["2026-10-31"] < 40


def test_only_the_named_namespaces(address: str) -> None:
    result = run("usage", "--address", address, *PERIOD, "-n", "b.acme", "-o", "json")
    assert rows_of(result) == [{"kind": "schedule_workflow", "count": 3, "actions": 6}]


def test_nothing_used(address: str) -> None:
    result = run("usage", "--address", address, "--from", "2026-01-01", "--to", "2026-01-02")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing was used" in result.stderr


def test_a_name_cannot_steer_the_terminal() -> None:
    with serving(FixedUsage([row(0, "start_timer", 1, workflow_type="\x1b[2Jgone")]), ["a.acme"]) as where:
        result = run("usage", "--address", where, *PERIOD, "--by", "workflow-type")
    assert "\x1b" not in result.stdout
    assert "x1b[2Jgone" in result.stdout


def test_usage_of_a_kind_that_is_not_priced_is_an_error() -> None:
    with serving(FixedUsage([row(0, "brew_coffee", 1)]), ["a.acme"]) as where:
        for command in (["usage", *PERIOD], ["invoice", "--plan", "business", "--month", "2026-10"]):
            result = run(*command, "--address", where)
            assert result.exit_code == 1
            assert "'brew_coffee'" in result.stderr


def test_a_long_period_is_read_day_by_day() -> None:
    source = FixedUsage(ROWS)
    with serving(source, ["a.acme", "b.acme"]) as where:
        run("usage", "--address", where, "--from", "2026-09-01", "--to", "2026-11-02T05")
    assert len(source.asked) == 63
    assert source.asked[0][1] == datetime(2026, 9, 1, tzinfo=UTC)
    assert source.asked[-1][1:] == (datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 2, 5, tzinfo=UTC))
    assert all(after[1] == before[2] for before, after in zip(source.asked, source.asked[1:], strict=False))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "yesterday"], "--from 'yesterday' is no day"),
        (["--to", "2026-11-01T13:30"], "not the beginning of an hour"),
        (["--from", "2026-11-02", "--to", "2026-11-02"], "the period is empty"),
    ],
)
def test_usage_misused(arguments: list[str], sentence: str) -> None:
    result = run("usage", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_invoice_as_json(address: str, tmp_path: Path) -> None:
    plan = tmp_path / "mine.toml"
    plan.write_text(GOOD)
    result = run("invoice", "--address", address, "--plan", str(plan), "--month", "2026-10", "-o", "json")
    assert result.exit_code == 0, result.stderr
    invoice = json.loads(result.stdout)
    assert (invoice["account"], invoice["plan"], invoice["total"]) == ("acme", "mine", "10.00")
    assert invoice["usage_until"] == "2026-11-01T00:00:00Z"
    assert {use["kind"]: use["count"] for use in invoice["usage"]} == {"start_timer": 5, "start_workflow": 40}
    assert invoice["not_metered"] == ["active storage", "retained storage"]


def test_invoice_as_a_table(address: str) -> None:
    result = run("invoice", "--address", address, "--plan", "business", "--month", "2026-10")
    assert result.exit_code == 0, result.stderr
    assert "Preview for account acme, 2026-10-01 to 2026-10-31, plan business" in result.stdout
    assert "500.00" in result.stdout
    assert "Not metered, and not in the total: active storage, retained storage." in result.stdout


def test_nothing_used_on_a_development_server_is_an_invoice_all_the_same(address: str) -> None:
    quiet = run("invoice", "--address", address, "--plan", "business", "--month", "2026-01")
    assert quiet.exit_code == 0, quiet.stderr
    assert "Preview for account local, 2026-01-01" in quiet.stdout


def test_usage_asked_at_the_address_for_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> object:
        raise PermissionDenied("GetUsageByKind is not served on this listener.")

    monkeypatch.setattr(FixedUsage, "read", refuse)
    with serving(FixedUsage(), ["a.acme"]) as where:
        result = run("usage", "--address", where, *PERIOD)
    assert result.exit_code == 1
    assert "this is the service's address for certificates" in result.stderr
    assert "--profile cloud" in result.stderr
    assert "--namespace" not in result.stderr


def test_the_account_must_be_known(address: str) -> None:
    named = run(
        "invoice", "--address", address, "--plan", "business", "--month", "2026-01", "--account", "acme"
    )
    assert named.exit_code == 0
    with serving(
        FixedUsage([*ROWS, row(0, "start_timer", 7, namespace="x.other")]), ["a.acme", "x.other"]
    ) as where:
        both = run("invoice", "--address", where, "--plan", "business", "--month", "2026-10")
        assert (both.exit_code, "(acme, other)" in both.stderr) == (2, True)
        one = run(
            "invoice",
            "--address",
            where,
            "--plan",
            "business",
            "--month",
            "2026-10",
            "--account",
            "other",
            "-o",
            "json",
        )
        assert json.loads(one.stdout)["usage"] == [
            {"kind": "start_timer", "count": 7, "actions_each": 1, "actions": 7}
        ]


@pytest.mark.parametrize(("month", "total"), [("2026-01", "500.00"), ("2026-10", "500.00")])
def test_an_invoice_is_for_the_account_of_the_key(tmp_path: Path, month: str, total: str) -> None:
    key, certificate = self_signed()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificate)
    seen = FixedUsage([*ROWS, row(0, "start_timer", 7, namespace="x.other")])
    by_key = ["--server-ca", str(ca), "--api-key", KEY]
    with serving(seen, ["a.acme", "x.other"], (key, certificate), account="acme") as where:
        result = run(
            "invoice", "--address", where, *by_key, "--plan", "business", "--month", month, "-o", "json"
        )
    assert result.exit_code == 0, result.stderr
    invoice = json.loads(result.stdout)
    assert (invoice["account"], invoice["total"]) == ("acme", total)


def test_a_key_for_a_service_without_accounts_needs_the_name(tmp_path: Path) -> None:
    key, certificate = self_signed()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificate)
    by_key = ["--server-ca", str(ca), "--api-key", KEY]
    with serving(FixedUsage(), [], (key, certificate)) as where:
        result = run("invoice", "--address", where, *by_key, "--plan", "business", "--month", "2026-01")
    assert result.exit_code == 2
    assert "--account" in result.stderr


@pytest.mark.parametrize("month", ["2026", "2026-13", "november", "9999-01"])
def test_a_month_that_is_none(month: str) -> None:
    result = run("invoice", "--plan", "business", "--month", month)
    assert result.exit_code == 2
    assert month in result.stderr


def test_plans(tmp_path: Path) -> None:
    listed = json.loads(run("plan", "list", "-o", "json").stdout)
    assert [plan["name"] for plan in listed] == ["business", "developer", "essentials", "self-hosted"]
    shown = json.loads(run("plan", "show", "business", "-o", "json").stdout)
    assert shown["action_tiers"][0] == {"up_to": 5_000_000, "price": "50", "per": 1_000_000}
    assert "up to 5,000,000: 50 USD per million" in run("plan", "show", "business").stdout
    file = tmp_path / "mine.toml"
    file.write_text(GOOD)
    assert run("plan", "check", str(file)).exit_code == 0
    file.write_text(GOOD.replace("fee = 10", "fee = -1").replace('"EUR"', '"X"'))
    bad = run("plan", "check", str(file))
    assert bad.exit_code == 1
    assert "2 faults to mend" in bad.stderr
    assert "base.fee: is -1" in bad.stderr


def test_an_api_key_over_tls(tmp_path: Path) -> None:
    key, certificate = self_signed()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificate)
    with serving(FixedUsage(ROWS), ["a.acme"], (key, certificate)) as where:
        good = run(
            "usage", "--address", where, *PERIOD, "--server-ca", str(ca), "--api-key", KEY, "-o", "json"
        )
        assert len(rows_of(good)) == 3
        wrong = run("usage", "--address", where, *PERIOD, "--server-ca", str(ca), "--api-key", "wrong")
        untrusted = run("usage", "--address", where, *PERIOD, "--api-key", KEY)
    assert (wrong.exit_code, untrusted.exit_code) == (1, 1)
    assert "UNAUTHENTICATED" in wrong.stderr
    assert "--server-ca" in untrusted.stderr
    assert KEY not in untrusted.stderr


def test_a_profile_brings_address_ca_and_key(tmp_path: Path) -> None:
    key, certificate = self_signed()
    (tmp_path / "ca.pem").write_bytes(certificate)
    with serving(FixedUsage(ROWS), ["a.acme"], (key, certificate)) as where:
        (tmp_path / "temporal.toml").write_text(
            f'[profile.p]\naddress = "{where}"\napi_key = "{KEY}"\n'
            f'[profile.p.tls]\nserver_ca_cert_path = "{tmp_path / "ca.pem"}"\n'
        )
        assert len(rows_of(run("usage", "--profile", "p", *PERIOD, "-o", "json"))) == 3


def test_refusals_of_the_service_are_one_sentence(address: str) -> None:
    result = run("usage", "--address", address, *PERIOD, "-n", "c.other")
    assert result.exit_code == 1
    assert "PERMISSION_DENIED, Request unauthorized" in result.stderr
    assert "Traceback" not in result.stderr


def test_nobody_answers() -> None:
    with serving(FixedUsage(), []) as where:
        pass
    result = run("usage", "--address", where, *PERIOD)
    assert result.exit_code == 1
    assert f"usage could not be read from {where}: UNAVAILABLE" in result.stderr


def test_a_key_is_never_sent_in_the_clear(tmp_path: Path) -> None:
    (tmp_path / "temporal.toml").write_text(
        '[profile.p]\naddress = "127.0.0.1:1"\napi_key = "secret"\n[profile.p.tls]\ndisabled = true\n'
    )
    with pytest.raises(UsageUnavailable, match=r"not sent to 127\.0\.0\.1:1 in the clear"):
        connection_from(address=None, api_key=None, server_ca=None, profile="p")


@pytest.mark.parametrize(
    ("address", "api_key", "secure"),
    [
        ("127.0.0.1:7233", None, False),
        ("localhost:7233", None, False),
        ("[::1]:7233", None, False),
        ("127.0.0.1:7233", "key", True),
        ("cloud.example:7234", None, True),
        ("10.0.0.1:7234", "key", True),
    ],
)
def test_where_tls_is_used(address: str, api_key: str | None, secure: bool) -> None:
    connection = connection_from(address=address, api_key=api_key, server_ca=None, profile=None)
    assert (connection.tls is not None) is secure
    assert not api_key or api_key not in repr(connection).replace("api_key", "")


def test_a_missing_ca_file_and_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageUnavailable, match=r"nope.pem cannot be read: No such file"):
        connection_from(address="a:1", api_key=None, server_ca=tmp_path / "nope.pem", profile=None)
    with pytest.raises(UsageUnavailable, match="no profile 'nope'"):
        connection_from(address=None, api_key=None, server_ca=None, profile="nope")
