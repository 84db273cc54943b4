"""One pass from a request to its answer:

    origin → operation → who → may they → how often → body → codecs → audit line → answer

Nothing of a body is read before its sender is known and allowed, and nothing decoded leaves before it is written down.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping

import structlog

from codec.audit_trail import AuditFailed
from codec.server.access import Access, Caller, CallerKind
from codec.server.allowances import Allowances, Bounds
from codec.server.audit import AuditTrail, Line
from codec.server.cors import Cors
from codec.server.identity import Identities
from codec.server.namespaces import NamespaceCodec, Worked
from codec.server.protocol import (
    Answer,
    Operation,
    Refusal,
    Request,
    keeps_references,
    namespace_of,
    operation_of,
    path_before,
    read_payloads,
    written,
)

_log = structlog.get_logger(__name__)

HEALTH_PATH = "/healthz"
_ALWAYS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "server": "tacit",
}


@dataclasses.dataclass(slots=True, kw_only=True)
class _Progress:
    """How far a request came, for its audit line."""

    operation: Operation
    caller: Caller
    namespace: str | None = None
    payloads: int = 0
    bytes_in: int = 0
    worked: Worked = dataclasses.field(default_factory=Worked)

    def line(self, *, remote: str, outcome: str, status: int, reason: str | None = None) -> Line:
        shown = outcome == "done"
        return Line(
            operation=self.operation.value,
            namespace=self.namespace,
            who=self.caller.shown(),
            remote=remote,
            outcome=outcome,
            status=status,
            reason=reason,
            payloads=self.payloads,
            bytes_in=self.bytes_in,
            bytes_out=self.worked.size if shown else 0,
            fetched=self.worked.fetched,
            stored=self.worked.stored,
            key_ids=tuple(self.worked.key_ids),
        )


class CodecServer:
    """Answers requests of the codec protocol for the namespaces that it is given."""

    def __init__(
        self,
        namespaces: Mapping[str, NamespaceCodec],
        *,
        identities: Identities,
        access: Access,
        cors: Cors,
        allowances: Allowances,
        audit: AuditTrail,
        bounds: Bounds | None = None,
    ) -> None:
        self._namespaces = namespaces
        self._identities = identities
        self._access = access
        self._cors = cors
        self._allowances = allowances
        self._audit = audit
        self._bounds = bounds or Bounds()

    def use(self, access: Access, identities: Identities) -> None:
        """Go by other rules from the next request on."""
        self._access, self._identities = access, identities

    async def answer(self, request: Request) -> Answer:
        """The answer to a request; never raises but when it is cancelled."""
        allowed: Mapping[str, str] = {}
        foreign: Refusal | None = None
        try:
            allowed = self._cors.headers(request)
        except Refusal as refusal:
            foreign = refusal
        try:
            reply = await self._reply(request, foreign)
        except Refusal as refusal:
            reply = refusal.answer()
        except Exception as error:
            reply = _defect(error)
        return Answer(status=reply.status, body=reply.body, headers={**_ALWAYS, **reply.headers, **allowed})

    async def _reply(self, request: Request, foreign: Refusal | None) -> Answer:
        """The answer; `foreign` refuses the page that asks, which is written down if it asked for payloads."""
        if foreign is not None and (request.method != "POST" or operation_of(request) is None):
            raise foreign
        if request.path == HEALTH_PATH and request.method in ("GET", "HEAD"):
            return Answer(status=200, body=b"ok\n", headers={"content-type": "text/plain; charset=utf-8"})
        operation = operation_of(request)
        if operation is None:
            raise _not_found()
        if request.method == "OPTIONS":
            return self._cors.preflight(request)
        if request.method != "POST":
            raise _not_found()
        progress = _Progress(
            operation=operation, caller=Caller(kind=CallerKind.NOBODY, subject=request.remote)
        )
        try:
            answer = await self._work(request, progress, foreign)
        except Refusal as refusal:
            outcome = "refused" if refusal.status < 500 else "failed"
            line = progress.line(
                remote=request.remote, outcome=outcome, status=refusal.status, reason=refusal.reason
            )
            await self._write_down(line)
            raise
        except Exception:
            await self._write_down(
                progress.line(remote=request.remote, outcome="failed", status=500, reason="defect")
            )
            raise
        await self._write_down(progress.line(remote=request.remote, outcome="done", status=answer.status))
        return answer

    async def _work(self, request: Request, progress: _Progress, foreign: Refusal | None) -> Answer:
        if foreign is not None:
            raise foreign
        remote = request.remote
        try:
            progress.caller = caller = await self._identities.prove(
                request, before_asking=lambda: self._allowances.check_address(remote)
            )
        except Refusal as refusal:
            if refusal.status == 401:
                # Good tokens are looked at first: behind a proxy all have one address, and who guesses must not
                # lock the others out.
                self._allowances.count_failure(remote)
                _log.info("codec_server.unauthenticated", reason=refusal.why, remote=remote)
            raise
        self._allowances.take(caller.key)
        progress.namespace = namespace = namespace_of(request, self._namespaces)
        self._access.check(caller, progress.operation, namespace)
        in_path = path_before(request)
        if (
            in_path != namespace
            and in_path in self._namespaces
            # To others it is a prefix like any.
            and self._access.allows(caller, progress.operation, in_path)
        ):
            raise Refusal(
                400,
                "The path and the X-Namespace header name different namespaces; let them agree, or leave one out.",
                "malformed",
            )
        codec = self._namespaces.get(namespace)
        if codec is None:
            # Who may everywhere is told; to all others the refusal above says the same of every namespace.
            raise Refusal(
                403,
                "This codec server serves no such namespace as the X-Namespace header says, or the path before the operation "
                "(see its --profile).",
                "not-served",
            )
        keep = keeps_references(request)
        async with self._allowances.working(caller.key):
            body = await request.read_body(self._bounds.body_bytes_max)
            progress.bytes_in = len(body)
            payloads = await read_payloads(body, payloads_max=self._bounds.payloads_max)
            del body
            progress.payloads = len(payloads)
            match progress.operation:
                case Operation.ENCODE:
                    await codec.encode(payloads, progress.worked)
                case Operation.DECODE:
                    await codec.decode(payloads, progress.worked, keep_references=keep)
                case Operation.DOWNLOAD:
                    await codec.download(payloads, progress.worked)
            return await written(progress.worked.payloads, progress.worked.size)

    async def _write_down(self, line: Line) -> None:
        try:
            await self._audit.write(line)
        except AuditFailed:
            raise Refusal(
                503, "The codec server's audit trail can't be written, so nothing is shown.", "audit"
            ) from None


def _not_found() -> Refusal:
    return Refusal(
        404, "There are POST .../encode, .../decode and .../download here, and GET /healthz.", "not-found"
    )


def _defect(error: Exception) -> Answer:
    error_id = secrets.token_hex(8)
    # No traceback and no text: either may hold a payload's content.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else ""
    _log.error("codec_server.defect", error_id=error_id, error=type(error).__name__, where=where)
    return Refusal(500, f"Internal error {error_id}: the codec server's log tells of it.", "defect").answer()
