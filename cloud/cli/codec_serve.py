"""`tacit codec serve`: a codec server for Temporal's web UI and CLI, in the foreground until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from cloud.cli.logs import configure_logging
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, fail, note, warn
from codec import CodecError
from codec.audit_trail import AuditFailed, FileSink, StreamSink
from codec.server.access import Access, Right, Rule
from codec.server.access_file import AccessFileError, AccessSettings, read_access_file, read_token
from codec.server.allowances import Allowances, Bounds
from codec.server.audit import AuditTrail
from codec.server.certificate import CertificateFailed, ShownCertificate
from codec.server.cors import ANY_ORIGIN, DEFAULT_ORIGINS, Cors, OriginError
from codec.server.identity import Identities
from codec.server.issuers import Issuers
from codec.server.namespaces import NamespaceCodec
from codec.server.service import CodecServer
from sdk import SdkError, data_converter, load_profile
from sdk.converter import options_of
from sdk.loopback import is_loopback, without_brackets

if TYPE_CHECKING:
    from cloud.cli.codec_api_keys import ServiceKeys

_log = structlog.get_logger(__name__)

EXAMPLE = (
    "Example: tacit codec serve --profile orders --access codec-access.toml --ip 0.0.0.0 "
    "--tls-cert codec.pem --tls-key codec.key --origin https://ui.acme.example --audit codec-audit.jsonl"
)
DEFAULT_PORT = 8081
LOOK_EVERY_S = 2.0
_MIB = 1024 * 1024
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    profiles: tuple[str | None, ...]
    ip: str
    port: int
    access: Path | None
    token_file: Path | None
    no_auth: bool
    cors: Cors
    certificate: ShownCertificate | None
    audit: AuditTrail
    bounds: Bounds


def serve(
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Profile of a namespace to serve; may be repeated, once per namespace.", show_default=False
        ),
    ] = None,
    ip: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback, TLS is needed.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = DEFAULT_PORT,
    access: Annotated[
        Path | None,
        typer.Option(help="TOML file that says who may decode and encode what.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with a bearer token that may do everything (mode 0600), for the CLI's --codec-auth.",
            show_default=False,
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask nobody who they are; on loopback only.")
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Web UI that may ask, as https://HOST[:PORT]; may be repeated. By default those at port 8233 of this machine.",
            show_default=False,
        ),
    ] = None,
    credentials: Annotated[
        bool,
        typer.Option(
            "--credentials", help="Let browsers send cookies (for a proxy in front that asks for them)."
        ),
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain, PEM; followed as it changes.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", show_default=False)] = None,
    audit: Annotated[
        str, typer.Option(help="File for a JSON line per request (mode 0600, only appended to); - is stdout.")
    ] = "-",
    fetch_mib: Annotated[
        int,
        typer.Option(min=0, max=64, help="Largest payload that is fetched from the object store, in MiB."),
    ] = 8,
    body_mib: Annotated[int, typer.Option(min=1, max=64, help="Largest body of a request, in MiB.")] = 16,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Requests per second that one caller may send on average.")
    ] = 200.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Decode and encode payloads for the web UI and the CLI, with the keys of your profiles.

    It has no right to anything but what the profiles say, and shows nothing before a line of it is written down.
    """
    configure_logging(output)
    ip = without_brackets(ip)
    tls = _certificate(tls_cert, tls_key)
    _refuse_unsafe(ip=ip, tls=tls is not None, no_auth=no_auth, proves=access or token_file)
    try:
        cors = Cors.of(origin or DEFAULT_ORIGINS, credentials=credentials)
    except OriginError as error:
        fail(str(error), EXIT_MISUSED)
    if no_auth and ANY_ORIGIN in cors.origins:
        fail(
            "--no-auth with --origin '*' would let any web page read your payloads: name the pages",
            EXIT_MISUSED,
        )
    options = _Options(
        profiles=tuple(profile or [None]),
        ip=ip,
        port=port,
        access=access,
        token_file=token_file,
        no_auth=no_auth,
        cors=cors,
        certificate=tls,
        audit=_audit(audit),
        bounds=Bounds(
            body_bytes_max=body_mib * _MIB,
            fetched_payload_bytes_max=fetch_mib * _MIB,
            fetched_request_bytes_max=4 * fetch_mib * _MIB,
            requests_per_second_max=rate,
            requests_burst_max=max(10, int(10 * rate)),
        ),
    )
    namespaces = _namespaces(options)
    settings = _settings(options)
    try:
        asyncio.run(_run(options, namespaces, settings, output))
    except AuditFailed as error:
        fail(str(error))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(
                f"Port {port} on {ip} is in use. Stop what listens there (`ss -ltnp` names it), or choose another port with "
                "--port."
            )
        fail(
            f"the codec server can't listen on {ip}:{port}: {error.strerror or error}. Choose another --port, or free it."
        )


def _refuse_unsafe(*, ip: str, tls: bool, no_auth: bool, proves: object) -> None:
    loopback = is_loopback(ip)
    if not no_auth and not proves:
        fail(
            "say who may use the codec server: --access FILE (people, by their sign-in), --token-file FILE (one token), "
            "or --no-auth on your own machine",
            EXIT_MISUSED,
        )
    if no_auth and proves:
        fail("--no-auth asks nobody, so leave out --access and --token-file, or it", EXIT_MISUSED)
    if no_auth and not loopback:
        fail(
            f"--no-auth would show your payloads to whoever reaches {ip}: it is for loopback only",
            EXIT_MISUSED,
        )
    if not tls and not loopback:
        fail(
            f"without TLS, payloads and tokens would travel readable to {ip}: give --tls-cert and --tls-key, or listen on "
            "127.0.0.1",
            EXIT_MISUSED,
        )


def _certificate(cert: Path | None, key: Path | None) -> ShownCertificate | None:
    if (cert is None) != (key is None):
        fail("--tls-cert and --tls-key go together", EXIT_MISUSED)
    if cert is None or key is None:
        return None
    try:
        return ShownCertificate(cert, key)
    except CertificateFailed as error:
        fail(str(error))


def _audit(place: str) -> AuditTrail:
    try:
        sink = StreamSink(sys.stdout) if place == "-" else FileSink(Path(place))
    except OSError as error:
        fail(f"the audit file {place} can't be used: {error.strerror}")
    return AuditTrail(sink, clock=time.monotonic)


def _namespaces(options: _Options) -> dict[str, NamespaceCodec]:
    found: dict[str, NamespaceCodec] = {}
    for name in options.profiles:
        try:
            chosen = load_profile(name)
            # Who looks at a history that has both kinds of payloads is shown both; the setting is for workers.
            converter = data_converter(dataclasses.replace(options_of(chosen), refuse_plaintext=False))
        except (SdkError, CodecError) as error:
            fail(str(error))
        if chosen.namespace in found:
            fail(
                f"two profiles are for the namespace {chosen.namespace!r}, and payloads do not say which is meant: "
                "name one of them",
                EXIT_MISUSED,
            )
        found[chosen.namespace] = NamespaceCodec(
            codec=converter.payload_codec, storage=converter.external_storage, bounds=options.bounds
        )
    return found


def _settings(options: _Options) -> AccessSettings:
    """Who may, as the files say now."""
    try:
        settings = AccessSettings() if options.access is None else read_access_file(options.access)
        if options.token_file is not None:
            token = read_token(options.token_file, _TOKEN_NAME)
            every = Rule(
                namespaces=frozenset({"*"}), rights=frozenset(Right), tokens=frozenset({_TOKEN_NAME})
            )
            settings = dataclasses.replace(
                settings, tokens=(*settings.tokens, token), rules=(*settings.rules, every)
            )
    except AccessFileError as error:
        fail(str(error))
    return settings


_TOKEN_NAME = "--token-file"  # noqa: S105 - what the token is called, not the token
"""No [[token]] should be called so; if one is, it may no more than its own rules and this one say."""


class _Rules:
    """The rules in force, and what proves callers by them. Belongs to one event loop."""

    def __init__(self, options: _Options, namespaces: Sequence[str]) -> None:
        self._options = options
        self._namespaces = namespaces
        self._api_keys: ServiceKeys | None = None

    async def of(self, settings: AccessSettings) -> tuple[Access, Identities]:
        """What these settings say."""
        from codec.server.fetching import fetch_document  # with aiohttp, which only a server needs

        issuers = None
        if settings.issuers:
            issuers = Issuers(settings.issuers, fetch_document, monotonic=time.monotonic, wall=time.time)
        api_keys = _service_keys(settings, self._namespaces) if settings.api_keys else None
        await self.close()
        self._api_keys = api_keys
        identities = Identities(tokens=settings.tokens, issuers=issuers, api_keys=api_keys)
        return Access(settings.rules, open_to_all=self._options.no_auth), identities

    async def close(self) -> None:
        """Let go of the service."""
        api_keys, self._api_keys = self._api_keys, None
        if api_keys is not None:
            await api_keys.close()


def _service_keys(settings: AccessSettings, namespaces: Sequence[str]) -> ServiceKeys:
    from cloud.cli.codec_api_keys import ServiceKeys  # with gRPC, which few need
    from cloud.cli.usage_client import UsageUnavailable, connection_from

    try:
        connection = connection_from(
            address=None, api_key=None, server_ca=None, profile=settings.service_profile
        )
    except UsageUnavailable as error:
        fail(f"API keys can't be checked: {error}")
    # The caller's own key is what is shown.
    return ServiceKeys(
        dataclasses.replace(connection, api_key=None), sorted(namespaces), clock=time.monotonic
    )


async def _run(
    options: _Options, namespaces: dict[str, NamespaceCodec], settings: AccessSettings, output: Output
) -> None:
    from codec.server.edge import CodecEdge

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    rules = _Rules(options, list(namespaces))
    access, identities = await rules.of(settings)
    server = CodecServer(
        namespaces,
        identities=identities,
        access=access,
        cors=options.cors,
        allowances=Allowances(options.bounds, time.monotonic),
        audit=options.audit,
        bounds=options.bounds,
    )
    # A page's own name can be made to point here; where tokens are asked for, such a page has none.
    hosts = frozenset({"localhost", "127.0.0.1", "::1", options.ip}) if options.no_auth else None
    edge = CodecEdge(server.answer, hosts=hosts)
    tls = options.certificate
    port = await edge.start(options.ip, options.port, tls.context if tls is not None else None)
    host = f"[{options.ip}]" if ":" in options.ip else options.ip
    url = f"{'https' if tls is not None else 'http'}://{host}:{port}"
    callers = url
    if options.ip in _ANY_ADDRESS:
        # What it listens on is no address to call.
        callers = f"https://{(tls.name if tls is not None else None) or 'HOST'}:{port}"
    _announce(url, callers, sorted(namespaces), output)
    followers = [asyncio.create_task(_follow(options, server, rules))]
    if tls is not None:
        followers.append(asyncio.create_task(tls.follow()))
    try:
        await stopped.wait()
    finally:
        for follower in followers:
            follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*followers, return_exceptions=True)
        await edge.stop()
        await rules.close()
        await options.audit.close()
        if output is Output.TEXT:
            note("The codec server has stopped.")


def _announce(url: str, callers: str, namespaces: list[str], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps({"url": url, "namespaces": namespaces}))
        sys.stdout.flush()
        return
    note(
        f"The codec server is ready at {url} (namespaces: {', '.join(namespaces)}). "
        f"For the CLI: --codec-endpoint '{callers}/{{namespace}}'. Stop with Ctrl-C."
    )


async def _follow(options: _Options, server: CodecServer, rules: _Rules) -> None:
    """Go by the access file as it changes. One that is wrong changes nothing, and is told of."""
    paths = [path for path in (options.access, options.token_file) if path is not None]
    seen = _stamps(paths)
    while paths:
        await asyncio.sleep(LOOK_EVERY_S)
        if (stamps := _stamps(paths)) == seen:
            continue
        seen = stamps
        try:
            settings = await asyncio.to_thread(_settings, options)
            server.use(*await rules.of(settings))
        except typer.Exit:
            warn("The codec server goes on by the rules that it had.")
            continue
        _log.info("codec_server.access_changed")


def _stamps(paths: list[Path]) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            status = path.stat()
            found.append((status.st_ino, status.st_mtime_ns))
        except OSError:
            found.append(None)
    return found
