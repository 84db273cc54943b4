"""`tacit usage`, `tacit invoice`, `tacit plan`: what was used, and what it costs by a plan.

The service gives counts; actions and money are worked out here, so that anybody can rate their usage by any
plan.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb

from billing import (
    Invoice,
    Period,
    Plan,
    PlanError,
    Tally,
    UnknownKind,
    UsageCount,
    builtin_plans,
    by_day,
    by_kind,
    by_namespace,
    by_workflow_type,
    counts_by_kind,
    invoice_as_json,
    is_whole_hour,
    load_plan,
    preview_invoice,
)
from cloud.cli.account_client import AccountClient, CallFailed, channel_to
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note
from cloud.cli.usage_client import Connection, UsageUnavailable, connection_from, read_usage

LOCAL_ACCOUNT = "local"
"""The account of namespaces whose names have none, as in `tacit dev`."""
OUTSIDE_WORKFLOWS = "(no workflow)"
BAR_COLUMNS = 40

app = typer.Typer(no_args_is_help=True)
plan_app = typer.Typer(
    no_args_is_help=True, help="List, show and check price plans.", epilog="Example: tacit plan show business"
)
app.add_typer(plan_app, name="plan")


class By(enum.StrEnum):
    """What a row of `tacit usage` stands for."""

    KIND = "kind"
    NAMESPACE = "namespace"
    DAY = "day"
    WORKFLOW_TYPE = "workflow-type"


AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="HOST:PORT of the service; else TEMPORAL_ADDRESS or the profile's."),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", help="API key; better in TEMPORAL_API_KEY, where other users' `ps` does not show it."
    ),
]
ServerCaOption = Annotated[
    Path | None, typer.Option("--server-ca", help="PEM file of the CA that signed the service's certificate.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Profile of temporal.toml to connect with.")
]
NamespaceOption = Annotated[
    list[str] | None,
    typer.Option("--namespace", "-n", help="Only this namespace; can be given several times."),
]


@app.command(
    epilog="Example: tacit usage --by day --from 2026-11-01 --to 2026-12-01",
    help="Show usage and the actions it is, by kind, namespace, day or workflow type. Times are UTC.",
)
def usage(
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="First day (2026-11-01) or hour (2026-11-01T13); else this month's first."
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Day or hour to end before; else now, this hour included.")
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What a row stands for.")] = By.KIND,
    namespaces: NamespaceOption = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print a table, a chart with ``--by day``, or JSON."""
    now = datetime.now(UTC)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    first = _moment("--from", start) if start else this_hour.replace(day=1, hour=0)
    last = _moment("--to", end) if end else this_hour + timedelta(hours=1)
    if last <= first:
        fail(
            f"the period is empty: --to {last:%Y-%m-%dT%H} is not after --from {first:%Y-%m-%dT%H}",
            EXIT_MISUSED,
        )
    rows = _read(_connection(address, api_key, server_ca, profile), first, last, namespaces)
    tallies = _tallies(rows, by)
    actions = sum(tally.actions for tally in tallies.values())
    if output is Output.JSON:
        listed = [_row(by, key, tally) for key, tally in tallies.items()]
        emit({"start": first, "end": last, "by": by.value, "rows": listed, "actions": actions}, output)
        return
    if by is By.DAY and rows:
        _chart(_every_day(tallies, first, last))
    else:
        emit(
            [_row(by, _shown(str(key)), tally) for key, tally in tallies.items()],
            output,
            empty="Nothing was used.",
        )
    if rows:
        note(
            f"{actions:,} {'action' if actions == 1 else 'actions'} from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        )


@app.command(
    epilog="Example: tacit invoice --plan business --month 2026-11",
    help="Preview what a month's usage comes to by a plan, built in or a file of your own.",
)
def invoice(
    plan: Annotated[str, typer.Option("--plan", help="Name of a built-in plan, or path of a plan file.")],
    month: Annotated[
        str | None, typer.Option("--month", help="Month such as 2026-11, in UTC; else this month.")
    ] = None,
    account: Annotated[
        str | None,
        typer.Option("--account", help="Account to preview for; else the one of your API key."),
    ] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Print the preview as a table or as JSON."""
    now = datetime.now(UTC)
    period = _month(month, now)
    chosen = _plan(plan)
    if period.start > now:
        fail(f"{period.start:%Y-%m} has not begun, so it has no usage; name an earlier --month", EXIT_MISUSED)
    connection = _connection(address, api_key, server_ca, profile)
    rows = _read(connection, period.start, period.end, None)
    owner = account or _own_account(connection) or _only_account(rows, connection)
    counts = counts_by_kind(row for row in rows if _account_of(row.namespace) == owner)
    try:
        preview = preview_invoice(account=owner, period=period, usage_until=now, counts=counts, plan=chosen)
    except UnknownKind as error:
        fail(str(error))
    if output is Output.JSON:
        emit(invoice_as_json(preview), output)
    else:
        _print_invoice(preview)


@plan_app.command("list", epilog="Example: tacit plan list", help="List the plans that are built in.")
def plan_list(output: OutputOption = Output.TEXT) -> None:
    """Print one row a plan."""
    emit([_plan_row(plan) for plan in builtin_plans().values()], output)


@plan_app.command("show", epilog="Example: tacit plan show business", help="Show a plan's prices.")
def plan_show(
    plan: Annotated[str, typer.Argument(help="Name of a built-in plan, or path of a plan file.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Print a plan in full."""
    chosen = _plan(plan)
    tiers = [
        {"up_to": tier.up_to, "price": tier.price.amount, "per": tier.price.per}
        for tier in chosen.action_tiers
    ]
    prices: object = tiers
    if output is Output.TEXT:
        prices = [_tier_words(tier.up_to, f"{tier.price.amount:f}", chosen) for tier in chosen.action_tiers]
    emit(
        {
            "title": chosen.title,
            **_plan_row(chosen),
            "action_tiers": prices,
            "included_active_gb_hours": chosen.included.active_gbh,
            "included_retained_gb_hours": chosen.included.retained_gbh,
            "active_storage_per_gb_hour": chosen.active_gbh.amount,
            "retained_storage_per_gb_hour": chosen.retained_gbh.amount,
            "source": chosen.source,
        },
        output,
    )


@plan_app.command(
    "check",
    epilog="Example: tacit plan check ./prices.toml",
    help="Check a plan file; all faults are shown at once.",
)
def plan_check(
    file: Annotated[str, typer.Argument(help="Path of the plan file.")], output: OutputOption = Output.TEXT
) -> None:
    """Exit 0 for a good plan, 1 with its faults for another."""
    chosen = _plan(file)
    if output is Output.JSON:
        emit({"plan": chosen.name, "good": True}, output)
    else:
        note(f"Plan {chosen.name} is good.")


# --- reading ------------------------------------------------------------------------------------------------------


def _connection(
    address: str | None, api_key: str | None, server_ca: Path | None, profile: str | None
) -> Connection:
    try:
        return connection_from(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    except UsageUnavailable as error:
        fail(str(error))


def _read(
    connection: Connection, start: datetime, end: datetime, namespaces: list[str] | None
) -> list[UsageCount]:
    try:
        return read_usage(connection, start=start, end=end, namespaces=namespaces or ())
    except UsageUnavailable as error:
        fail(str(error))


def _moment(option: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(
            f"{option} {text!r} is no day such as 2026-11-01 and no hour such as 2026-11-01T13", EXIT_MISUSED
        )
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if not is_whole_hour(moment):
        fail(f"{option} {text!r} is not the beginning of an hour: usage is kept by the hour", EXIT_MISUSED)
    return moment


def _month(text: str | None, now: datetime) -> Period:
    if text is None:
        return Period.month(now.year, now.month)
    year, _, month = text.partition("-")
    try:
        return Period.month(int(year), int(month))
    except ValueError:
        fail(f"--month {text!r} is no month such as 2026-11", EXIT_MISUSED)


def _plan(name_or_path: str) -> Plan:
    try:
        return load_plan(name_or_path)
    except PlanError as error:
        fail(str(error))


def _tallies(rows: list[UsageCount], by: By) -> dict[str, Tally]:
    try:
        match by:
            case By.KIND:
                return by_kind(rows)
            case By.NAMESPACE:
                return by_namespace(rows)
            case By.WORKFLOW_TYPE:
                return by_workflow_type(rows)
            case By.DAY:
                return {day.isoformat(): tally for day, tally in by_day(rows).items()}
    except UnknownKind as error:
        fail(str(error))


def _account_of(namespace: str) -> str:
    return namespace.rpartition(".")[2] if "." in namespace else LOCAL_ACCOUNT


def _own_account(connection: Connection) -> str | None:
    """The account whose API key this is; None where no key says it, or the service has no accounts."""
    if not connection.api_key:
        return None
    with channel_to(connection) as channel:
        try:
            found = AccountClient(channel, connection).call("GetAccount", pb.GetAccountRequest())
        except CallFailed as error:
            if error.code is grpc.StatusCode.UNIMPLEMENTED:
                return None
            fail(str(error))
    account: str = found.account.id
    return account


def _only_account(rows: list[UsageCount], connection: Connection) -> str:
    accounts = sorted({_account_of(row.namespace) for row in rows})
    if not accounts and connection.tls is None and not connection.api_key:
        return LOCAL_ACCOUNT  # a development server: nobody has accounts there
    if not accounts:
        fail(
            "nothing was used in this month, and without an API key nothing says whose it is: "
            "name the account with --account",
            EXIT_MISUSED,
        )
    if len(accounts) > 1:
        fail(
            f"usage of several accounts can be seen ({', '.join(accounts)}): name one with --account",
            EXIT_MISUSED,
        )
    return accounts[0]


# --- showing ------------------------------------------------------------------------------------------------------


def _row(by: By, key: object, tally: Tally) -> dict[str, object]:
    return {by.value.replace("-", "_"): key, "count": tally.count, "actions": tally.actions}


def _shown(name: str) -> str:
    # Names come from tenants' programs: what could steer the terminal is shown, not sent.
    if not name:
        return OUTSIDE_WORKFLOWS
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def _every_day(tallies: Mapping[str, Tally], start: datetime, end: datetime) -> dict[str, Tally]:
    """Days without usage belong into a chart, or its shape would lie."""
    last = (end - timedelta(microseconds=1)).date()
    days = [start.date() + timedelta(days=n) for n in range((last - start.date()).days + 1)]
    return {day.isoformat(): tallies.get(day.isoformat(), Tally(count=0, actions=0)) for day in days}


def _chart(days: Mapping[str, Tally]) -> None:
    most = max(tally.actions for tally in days.values())
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("day", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("actions", justify="right")
    table.add_column("", width=BAR_COLUMNS)
    for day, tally in days.items():
        bar = Bar(most or 1, 0, tally.actions, width=BAR_COLUMNS)
        table.add_row(day, f"{tally.count:,}", f"{tally.actions:,}", bar)
    Console(soft_wrap=True, highlight=False).print(table)


def _plan_row(plan: Plan) -> dict[str, object]:
    return {
        "name": plan.name,
        "currency": plan.currency,
        "monthly_fee": plan.base.fee,
        "percent_of_usage": plan.base.percent,
        "rule": plan.base.rule.value,
        "included_actions": plan.included.actions,
    }


def _tier_words(up_to: int | None, price: str, plan: Plan) -> str:
    reach = f"up to {up_to:,}" if up_to is not None else "beyond"
    return f"{reach}: {price} {plan.currency} per million"


def _print_invoice(preview: Invoice) -> None:
    console = Console(soft_wrap=True, highlight=False)
    last_day = preview.period.end - timedelta(days=1)
    console.print(
        Text(
            f"Preview for account {_shown(preview.account)}, {preview.period.start:%Y-%m-%d} to {last_day:%Y-%m-%d}, "
            f"plan {preview.plan}",
            style="bold",
        )
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
    table.add_column("description", footer="total")
    table.add_column("quantity", justify="right")
    table.add_column("unit")
    table.add_column("price", justify="right")
    table.add_column(
        Text(f"amount {preview.currency}"), justify="right", footer=Text(f"{preview.total:,f}", style="bold")
    )
    for line in preview.lines:
        per = "" if line.unit_price_per == 1 else f" / {line.unit_price_per:,}"
        table.add_row(
            Text(line.description),
            Text(f"{line.quantity.normalize():,f}"),
            line.unit,
            f"{line.unit_price:,f}{per}",
            f"{line.amount:,f}",
        )
    console.print(table)
    if preview.not_metered:
        console.print(Text(f"Not metered, and not in the total: {', '.join(preview.not_metered)}."))
    if not preview.period_is_over:
        console.print(Text(f"The month is not over: usage until {preview.usage_until:%Y-%m-%d %H:%M} UTC."))
