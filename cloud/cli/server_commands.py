"""`tacit dev` and `tacit up`: servers in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import enum
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Protocol

import typer
import uvloop
from sqlalchemy.exc import SQLAlchemyError
from temporalio.api.enums.v1 import IndexedValueType

from cloud.app.development import Development, DevelopmentOptions
from cloud.app.ended import Ended
from cloud.cli.imports import without_grpcio
from cloud.cli.logs import configure_logging
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, fail, note
from cloud.engine.runtime import dynamic_config as dynamic_configs
from cloud.engine.store.database import StoreUnavailable
from cloud.gateway.listeners import HTTP_OPTIONS, ListenFailed, refuse_taken_port
from cloud.gateway.server_certificate import CertificateUnusable
from cloud.settings import SettingsError, Transport, load
from cloud.transport.calls import ListenerKind

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_TYPES = {
    "text": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "keywordlist": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}


class LogLevel(enum.StrEnum):
    """As the official CLI names them."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    NEVER = "never"


class LogFormat(enum.StrEnum):
    """As the official CLI names them."""

    TEXT = "text"
    PRETTY = "pretty"
    JSON = "json"


_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARN: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.NEVER: logging.CRITICAL,  # nothing here is
}
_WITHOUT_EFFECT = typer.Option(hidden=True, help="Accepted for scripts that pass it.")


class Server(Protocol):
    """What this module runs."""

    ended: Ended

    async def start(self) -> None:
        """Begin to serve."""

    async def stop(self) -> None:
        """Stop serving."""

    def hurry(self) -> None:
        """While it stops: do not wait for what runs."""


@app.command(
    epilog="Example: tacit dev --db tacit.db --search-attribute Customer=Keyword "
    "--dynamic-config-value frontend.WorkflowPauseEnabled=false"
)
def dev(
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="gRPC port; 0 takes a free one.")
    ] = 7233,
    ip: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="HTTP port; by default that of gRPC + 10 (7243), or a free one if that is taken.",
        ),
    ] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", "--db-filename", "-f", help="SQLite file or database URL; without it, memory."),
    ] = None,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Namespace to make, besides `default`.")
    ] = None,
    search_attribute: Annotated[
        list[str] | None, typer.Option(help="Search attribute NAME=TYPE to define; may be repeated.")
    ] = None,
    dynamic_config_value: Annotated[
        list[str] | None,
        typer.Option(help="Switch NAME=JSON, by the real server's names; may be repeated."),
    ] = None,
    time_skipping: Annotated[
        bool,
        typer.Option("--time-skipping", help="Serve TestService: tests skip over what they would wait for."),
    ] = False,
    headless: Annotated[bool, typer.Option(help="Without a web console (there is none yet).")] = True,
    log_level: Annotated[
        LogLevel, typer.Option(case_sensitive=False, help="What is logged at least.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(case_sensitive=False, help="Form of log lines; by default as --output."),
    ] = None,
    log_config: Annotated[bool, _WITHOUT_EFFECT] = False,
    ui_ip: Annotated[str | None, _WITHOUT_EFFECT] = None,
    ui_port: Annotated[int | None, _WITHOUT_EFFECT] = None,
    ui_asset_path: Annotated[str | None, _WITHOUT_EFFECT] = None,
    ui_codec_endpoint: Annotated[str | None, _WITHOUT_EFFECT] = None,
    ui_public_path: Annotated[str | None, _WITHOUT_EFFECT] = None,
    ui_disable_news_fetch: Annotated[bool, _WITHOUT_EFFECT] = False,
    sqlite_pragma: Annotated[list[str] | None, _WITHOUT_EFFECT] = None,
    metrics_port: Annotated[int | None, _WITHOUT_EFFECT] = None,
    transport: Annotated[
        Transport, typer.Option(help="What carries gRPC: our own HTTP/2, or grpcio.")
    ] = Transport.HTTP2,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a server for development: no TLS, loopback only, drop-in for `temporal server start-dev`."""
    del headless  # accepted for scripts that pass it
    configure_logging(
        output if log_format is None else Output.JSON if log_format is LogFormat.JSON else Output.TEXT,
        _LEVELS[log_level],
    )
    ignored = {
        "--log-config": log_config,
        "--ui-ip": ui_ip,
        "--ui-port": ui_port,
        "--ui-asset-path": ui_asset_path,
        "--ui-codec-endpoint": ui_codec_endpoint,
        "--ui-public-path": ui_public_path,
        "--ui-disable-news-fetch": ui_disable_news_fetch,
        "--sqlite-pragma": sqlite_pragma,
        "--metrics-port": metrics_port,
    }
    for option, value in ignored.items():
        if value:
            note(f"{option} has no effect here.")
    try:
        dynamic_config, without_effect = dynamic_configs.parse(dynamic_config_value or [])
    except dynamic_configs.DynamicConfigError as error:
        fail(str(error), EXIT_MISUSED)
    for name in without_effect:
        note(f"The dynamic config value {name} has no effect here.")
    if time_skipping and db:
        fail("--time-skipping keeps its own time, which ends with the server: leave --db out", EXIT_MISUSED)
    options = DevelopmentOptions(
        host=ip,
        port=port,
        http_port=_beside(port) if http_port is None else http_port,
        http_port_or_any=http_port is None,
        database=db or ":memory:",
        namespaces=tuple(dict.fromkeys(["default", *(namespace or [])])),
        search_attributes=dict(_search_attribute(text) for text in search_attribute or []),
        dynamic_config=dynamic_config,
        time_skipping=time_skipping,
        transport=transport,
    )
    if port == http_port != 0:
        fail(f"port {port} can't take both gRPC and HTTP: choose another with --http-port", EXIT_MISUSED)
    _refuse_taken_ports(
        (ListenerKind.DEVELOPMENT, ip, port, None),
        (ListenerKind.DEVELOPMENT, ip, http_port or 0, HTTP_OPTIONS),
    )
    server: Development

    async def serve() -> None:
        nonlocal server
        server = Development(options)
        await _serve_until_stopped(server, announce)

    async def announce() -> None:
        address, http = f"{options.host}:{server.port}", f"{options.host}:{server.http_port}"
        if output is Output.JSON:
            shown = {"address": address, "http_address": http, "namespaces": list(options.namespaces)}
            typer.echo(json.dumps(shown))
        else:
            note(
                f"Tacit is ready at {address} (namespaces: {', '.join(options.namespaces)}), "
                f"its HTTP API at {http}. Stop with Ctrl-C."
            )
        sys.stdout.flush()

    _run(serve)


@app.command(epilog="Example: tacit up --data /var/lib/tacit --host 0.0.0.0 --name tacit.example.com")
def up(
    data: Annotated[Path | None, typer.Option(help="Directory of databases, keys and certificates.")] = None,
    database: Annotated[
        str | None, typer.Option(help="The cell's database: a file or postgresql://…; by default in --data.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="DNS name or address that clients use; may be repeated.")
    ] = None,
    mtls_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for certificates (7233).")
    ] = None,
    api_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port for API keys (7234).")] = None,
    transport: Annotated[
        Transport | None, typer.Option(help="What carries gRPC: our own HTTP/2 (http2), or grpcio (grpc).")
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run the whole cloud in one process, TLS on. Settings also come from TACIT_* variables and --config."""
    configure_logging(output)
    overrides = {
        "data": str(data) if data else None,
        "database": database,
        "host": host,
        "names": name or None,
        "mtls_port": mtls_port,
        "api_port": api_port,
        "transport": transport.value if transport else None,
    }
    try:
        settings = load(config, os.environ, overrides)
    except SettingsError as error:
        fail(str(error), EXIT_MISUSED)
    if settings.mtls_port == settings.api_port != 0:
        fail(
            f"port {settings.api_port} can't take both certificates and API keys: "
            "choose another for one of them with --mtls-port or --api-port",
            EXIT_MISUSED,
        )
    _refuse_taken_ports(
        (ListenerKind.MTLS, settings.host, settings.mtls_port, None),
        (ListenerKind.API_KEY, settings.host, settings.api_port, None),
    )
    data_directory(settings.data_path)
    with without_grpcio():
        from cloud.app.whole import Cloud  # only here: `tacit dev` starts without the control plane

    server: Cloud

    async def serve() -> None:
        nonlocal server
        server = Cloud(settings)
        await _serve_until_stopped(server, announce)

    async def announce() -> None:
        shown = {
            "certificates": f"{settings.names[0]}:{server.mtls_port}",
            "api_keys": f"{settings.names[0]}:{server.api_port}",
            "server_ca": str(server.server_ca_path),
            "signup_token": str(server.signup_token_path),
        }
        if output is Output.JSON:
            typer.echo(json.dumps(shown))
        else:
            note(
                f"Tacit is up: certificates on {shown['certificates']}, API keys on {shown['api_keys']}.\n"
                f"Sign up: tacit signup --address {shown['api_keys']} --server-ca {shown['server_ca']} "
                f"--token-file {shown['signup_token']} --email YOU --namespace NAME"
            )
        sys.stdout.flush()

    _run(serve)


def _refuse_taken_ports(*wanted: tuple[ListenerKind, str, int, tuple[str, str] | None]) -> None:
    """Before databases are made and migrated for a server that then could not listen."""
    try:
        for kind, host, port, options in wanted:
            refuse_taken_port(kind, host, port, options)
    except ListenFailed as error:
        fail(str(error))


_HTTP_PORT_DISTANCE = 10


def _beside(port: int) -> int:
    """Where HTTP is served unless told: beside gRPC."""
    beside = port + _HTTP_PORT_DISTANCE
    return beside if port and beside < 65536 else 0


def _search_attribute(text: str) -> tuple[str, IndexedValueType.ValueType]:
    name, _, kind = text.partition("=")
    if not name or kind.lower() not in _TYPES:
        fail(
            f"--search-attribute {text!r} is not NAME=TYPE: TYPE is one of "
            "Text, Keyword, Int, Double, Bool, Datetime, KeywordList",
            EXIT_MISUSED,
        )
    return name, _TYPES[kind.lower()]


def _run(serve: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await serve()

    try:
        uvloop.run(main())
    except (
        StoreUnavailable,
        ListenFailed,
        CertificateUnusable,
        SQLAlchemyError,
        OSError,
        ValueError,
    ) as error:
        fail(str(error))


async def _serve_until_stopped(server: Server, announce: Callable[[], Awaitable[None]]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopped.is_set():
            server.hurry()  # asked a second time
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    starting = asyncio.create_task(server.start())
    stopping = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        _spare_the_collector()
        await announce()
        ended = asyncio.create_task(server.ended.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            fail(server.ended.reason)
        ended.cancel()
        note(
            "Stopping: open calls are answered, what was accepted is written to disk "
            "(once more does not wait for the calls)."
        )
    finally:
        stopping.cancel()
        await server.stop()


def _spare_the_collector() -> None:
    """What is loaded by now stays: keep Python's cycle collector from walking it again and again.

    Hot state has few cycles, so young objects may also gather longer. Without this a tenth of the CPU under load is the collector's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def data_directory(path: Path) -> Path:
    """Make the data directory, private to this user.

    Raises:
        typer.Exit: it can't be made or written, with the reason said.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        fail(
            f"the data directory {path} can't be written: {error.strerror}: choose another with --data, or free it"
        )
    return path
