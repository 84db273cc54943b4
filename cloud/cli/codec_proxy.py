"""`tacit codec proxy`: the sidecar, in the foreground until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cloud.cli.logs import configure_logging
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, fail, note
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.listening import CannotListen, Tls, server
from cloud.sidecar.routes import Routes
from cloud.sidecar.setting_up import routes_of
from cloud.sidecar.sidecar import Sidecar, Unknown
from cloud.transport.grpc_status import PortUnavailable
from codec import CodecError, SecretFileError, read_secret_file
from codec.audit_trail import Durability
from sdk import Profile, SdkError, load_profile

EXAMPLE = "Example: tacit codec proxy --profile orders --profile billing --audit decoded.jsonl"
DEFAULT_LISTEN = "127.0.0.1:7235"
GRACE_S = 5.0
_STEERING = ("HOME", "XDG_CONFIG_HOME", "TEMPORAL_CONFIG_FILE")
"""The variables that say where profiles are. Of those that change a profile, none can be meant for several."""


def proxy(
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Profile of a namespace; may be repeated, once per namespace. What is about no namespace goes to the first.",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(help="Where workers connect, HOST:PORT; port 0 takes a free one.")
    ] = DEFAULT_LISTEN,
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="Certificate to show to workers, PEM; followed as it changes.", show_default=False),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", show_default=False)] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(help="Let in workers with a certificate of these CAs only, PEM.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File (mode 0600) with a token that workers must send as their API key.", show_default=False
        ),
    ] = None,
    unknown_namespaces: Annotated[
        Unknown,
        typer.Option(
            help="Calls about namespaces without a profile: refuse, or pass to the first profile's service as they are."
        ),
    ] = Unknown.REFUSE,
    unknown_fields: Annotated[
        Unknown,
        typer.Option(help="Fields of a newer protocol, which can't be encrypted: refuse the call, or pass."),
    ] = Unknown.REFUSE,
    audit: Annotated[
        str,
        typer.Option(help="File for a JSON line per message that is decoded; - is stderr, none is nowhere."),
    ] = "-",
    audit_durability: Annotated[
        Durability,
        typer.Option(
            help="What an answer waits for: that its audit line is written (and synced within 0.1 s), or synced to the disk."
        ),
    ] = Durability.WRITTEN,
    output: OutputOption = Output.TEXT,
) -> None:
    """Encrypt, compress and offload for workers in any language: they connect here, and need no codec.

    What the service gets is just what a worker with `sdk.connect` and the same profile would send, so both work together.
    """
    configure_logging(output)
    if (tls_cert is None) != (tls_key is None) or (client_ca is not None and tls_cert is None):
        fail("--tls-cert and --tls-key go together, and --client-ca needs both", EXIT_MISUSED)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        fail(f"--listen is HOST:PORT, such as {DEFAULT_LISTEN}, not {listen!r}", EXIT_MISUSED)
    tls = (
        None if tls_cert is None or tls_key is None else Tls(cert=tls_cert, key=tls_key, client_ca=client_ca)
    )
    try:
        profiles = _profiles(profile)
        token = None
        if token_file is not None:
            token = read_secret_file(token_file, what="token").decode().strip()
            if not token:
                fail(f"{token_file} is empty: put a token into it", EXIT_MISUSED)
        log = AuditLog({"-": sys.stderr, "none": None}.get(audit, Path(audit)), durability=audit_durability)
        uvloop.run(
            _run(
                profiles,
                listen,
                tls,
                log,
                output,
                unknown_namespaces=unknown_namespaces,
                unknown_fields=unknown_fields,
                token=token,
            )
        )
    except (SdkError, CodecError, SecretFileError, CannotListen) as error:
        fail(str(error))
    except PortUnavailable as error:
        fail(
            f"{listen} can't be opened: {error.__cause__ or 'it is in use'}. Choose another with --listen, or free it."
        )
    except OSError as error:
        fail(f"{error.filename or audit} can't be used: {error.strerror or error}")


def _profiles(names: Sequence[str] | None) -> list[Profile]:
    if not names or len(names) == 1:
        return [load_profile(names[0] if names else None)]
    steering = {name: value for name, value in os.environ.items() if name in _STEERING}
    return [load_profile(name, environment=steering) for name in names]


async def _run(
    profiles: Sequence[Profile],
    listen: str,
    tls: Tls | None,
    log: AuditLog,
    output: Output,
    *,
    unknown_namespaces: Unknown,
    unknown_fields: Unknown,
    token: str | None,
) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    routes = routes_of(profiles)
    sidecar = Sidecar(
        routes,
        audit=log,
        unknown_namespaces=unknown_namespaces,
        unknown_fields=unknown_fields,
        token=token,
    )
    host = listen.rpartition(":")[0]
    listening = server(sidecar, host=host, tls=tls)
    port = await listening.start(listen)
    # What is there now stays; looking through it again and again would cost every call.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    _announce(f"{host}:{port}", routes, output)
    try:
        await stopped.wait()
    finally:
        await listening.stop(GRACE_S)
        for route in routes.all:
            await route.upstream.close()
        try:
            await log.close()
        finally:
            _summarise(sidecar, output)


def _announce(address: str, routes: Routes, output: Output) -> None:
    if output is Output.JSON:
        ways = [
            {
                "namespace": route.local,
                "remote": route.remote,
                "address": route.upstream.address,
                "profile": route.profile,
                "encrypts": route.chain.encrypts,
            }
            for route in routes.all
        ]
        typer.echo(json.dumps({"address": address, "namespaces": ways}))
        sys.stdout.flush()
        return
    note(f"The proxy is ready: connect workers to {address}, without TLS, keys or codecs. Stop with Ctrl-C.")
    for route in routes.all:
        name = route.local if route.local == route.remote else f"{route.local} (there {route.remote})"
        how = "encrypted" if route.chain.encrypts else "NOT encrypted (encryption is off)"
        note(f"  {name} -> {route.upstream.address}, {how}, profile {route.profile}")


def _summarise(sidecar: Sidecar, output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps({"counts": dict(sidecar.counts)}))
        return
    told = ", ".join(f"{count} {name}" for name, count in sorted(sidecar.counts.items()))
    note(f"The proxy has stopped: {told or 'nothing was asked of it'}.")
