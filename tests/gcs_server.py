"""A server that speaks the XML API of Google Cloud Storage, from memory, as Google's reference describes it.

No emulator that can be installed speaks enough of that API (codec/README.md says what was tried), and `obstore` speaks nothing
else. This one is written for what `obstore` sends and is strict: a request that is not in the reference is refused. It shows
that ours and `obstore`'s side of the API fit together, not that Google's does as its reference says.

What differs from S3 is here on purpose: a bearer token that the client signs by its service account, buckets that must exist, 404
for deleting what is gone, generations for conditional writes, one write a second to one name (if asked for), and parts of 5 MiB and more.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import google.auth.jwt  # type: ignore[import-untyped]
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.processes import free_port

PART_BYTES_MIN = 5 * 1024 * 1024
"""Every part of a multipart upload but the last has at least as many."""

METADATA_TOKEN = "token-of-the-instance"
"""What the machine's metadata server hands out; it may do all."""

_SCOPES = {
    f"https://www.googleapis.com/auth/{name}" for name in ("cloud-platform", "devstorage.full_control")
}
_LISTING = {"list-type", "prefix", "delimiter", "continuation-token", "start-after", "max-keys"}


class Refused(Exception):
    """An answer that is an error: status and code, as the reference has them."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code = status, code


@dataclasses.dataclass(frozen=True)
class Stored:
    """An object as it lies in a bucket."""

    content: bytes
    generation: int
    modified: datetime

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"'


@dataclasses.dataclass
class Upload:
    """A multipart upload that is under way."""

    bucket: str
    name: str
    parts: dict[int, bytes] = dataclasses.field(default_factory=dict)


class GcsServer:
    """The server, on the event loop that uses it, at a free port of loopback. `requests` are all that came."""

    def __init__(self, *, page_max: int = 1000, write_seconds: float = 0.0) -> None:
        """`write_seconds` must pass between two writes to one name: a second, by the reference."""
        self.page_max, self.write_seconds = page_max, write_seconds
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self.requests: list[str] = []
        self.endpoint = ""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._generation = 1_700_000_000_000_000
        self._written: dict[tuple[str, str], float] = {}

    async def __aenter__(self) -> GcsServer:
        """Listen."""
        application = web.Application(client_max_size=1 << 30)
        application.router.add_get("/computeMetadata/v1/{path:.*}", self._metadata)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def bucket(self) -> str:
        """The name of a bucket that nobody else uses."""
        name = f"tests-{uuid.uuid4().hex[:20]}"
        self.buckets[name] = {}
        return name

    def service_account(self, user: str) -> str:
        """The key file of a service account: "writer" may do all, "reader" reads and lists; others do not exist."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return json.dumps(
            {
                "type": "service_account",
                "client_email": f"{user}@tests.iam.gserviceaccount.com",
                "private_key_id": user,
                "private_key": private.decode(),
            }
        )

    async def _metadata(self, request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google" or not request.path.endswith("/token"):
            return web.Response(status=403)
        return web.json_response({"access_token": METADATA_TOKEN, "expires_in": 3600, "token_type": "Bearer"})

    async def _handle(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.raw_path}")
        try:
            return self._answer(request, await request.read())
        except Refused as refused:
            text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refused.code}</Code></Error>"
            return web.Response(status=refused.status, text=text, content_type="application/xml")

    def _answer(self, request: web.Request, body: bytes) -> web.Response:
        may_write = self._may_write(request.headers.get("Authorization", ""))
        path = request.raw_path.partition("?")[0].removeprefix("/")
        bucket, _, name = (unquote(part) for part in path.partition("/"))
        if bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket")
        if request.method not in ("GET", "HEAD") and not may_write:
            raise Refused(403, "AccessDenied")
        if len(name.encode()) > 1024:
            raise Refused(400, "KeyTooLongError")
        query = dict(request.query)
        match request.method, sorted(query), bool(name):
            case "GET", keys, False if query.get("list-type") == "2" and set(keys) <= _LISTING:
                return _xml(self._listing(bucket, query))
            case (("GET" | "HEAD"), [], True):
                return self._get(request, self._stored(bucket, name))
            case "PUT", [], True:
                return self._put(request.headers, bucket, name, body)
            case "DELETE", [], True:
                self._stored(bucket, name)
                del self.buckets[bucket][name]
                return web.Response(status=204)
            case "POST", ["uploads"], True if not body:
                upload_id = uuid.uuid4().hex
                self.uploads[upload_id] = Upload(bucket, name)
                fields = {"Bucket": bucket, "Key": name, "UploadId": upload_id}
                return _xml(_element("InitiateMultipartUploadResult", fields))
            case "PUT", ["partNumber", "uploadId"], True:
                self._upload(bucket, name, query).parts[int(query["partNumber"])] = body
                return web.Response(headers={"ETag": _etag(body)})
            case "POST", ["uploadId"], True:
                return self._complete(bucket, name, query, body)
            case "DELETE", ["uploadId"], True:
                self._upload(bucket, name, query)
                del self.uploads[query["uploadId"]]
                return web.Response(status=204)
        raise Refused(400, "InvalidArgument")

    def _may_write(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        if kind != "Bearer":
            raise Refused(401, "AuthenticationRequired")
        if token == METADATA_TOKEN:
            return True
        try:
            claims: Mapping[str, Any] = google.auth.jwt.decode(token, certs=self._public)
        except ValueError:
            raise Refused(401, "AuthenticationRequired") from None
        user = str(claims["sub"]).partition("@")[0]
        if (
            claims["iss"] != claims["sub"]
            or claims.get("scope") not in _SCOPES
            or user not in ("writer", "reader")
        ):
            raise Refused(401, "AuthenticationRequired")
        return user == "writer"

    def _stored(self, bucket: str, name: str) -> Stored:
        found = self.buckets[bucket].get(name)
        if found is None:
            raise Refused(404, "NoSuchKey")
        return found

    def _get(self, request: web.Request, found: Stored) -> web.Response:
        headers = {
            "ETag": found.etag,
            "Last-Modified": format_datetime(found.modified, usegmt=True),
            "x-goog-generation": str(found.generation),
        }
        wanted, size = request.http_range, len(found.content)
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(size)})
        if wanted.start is None and wanted.stop is None:
            return web.Response(headers=headers, body=found.content)
        start, stop, _ = wanted.indices(size)
        if start >= size:
            raise Refused(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return web.Response(status=206, headers=headers, body=found.content[start:stop])

    def _put(self, headers: Mapping[str, str], bucket: str, name: str, body: bytes) -> web.Response:
        if "Content-Length" not in headers:
            raise Refused(411, "MissingContentLength")
        expected, there = headers.get("x-goog-if-generation-match"), self.buckets[bucket].get(name)
        if expected is not None and int(expected) != (there.generation if there else 0):
            raise Refused(412, "PreconditionFailed")
        stored = self._write(bucket, name, body)
        return web.Response(headers={"ETag": stored.etag, "x-goog-generation": str(stored.generation)})

    def _write(self, bucket: str, name: str, content: bytes) -> Stored:
        now = time.monotonic()
        if now - self._written.get((bucket, name), -self.write_seconds) < self.write_seconds:
            raise Refused(429, "SlowDown")
        self._written[bucket, name] = now
        self._generation += 1
        stored = Stored(content, self._generation, datetime.now(UTC).replace(microsecond=0))
        self.buckets[bucket][name] = stored
        return stored

    def _upload(self, bucket: str, name: str, query: Mapping[str, str]) -> Upload:
        found = self.uploads.get(query["uploadId"])
        if found is None or (found.bucket, found.name) != (bucket, name):
            raise Refused(404, "NoSuchUpload")
        return found

    def _complete(self, bucket: str, name: str, query: Mapping[str, str], body: bytes) -> web.Response:
        upload = self._upload(bucket, name, query)
        named = [
            (int(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", ""))
            for part in ET.fromstring(body).iterfind("{*}Part")  # noqa: S314 - it comes from obstore
        ]
        if not named or named != sorted(named):
            raise Refused(400, "InvalidPartOrder")
        if any(_etag(upload.parts.get(number, b"")).strip('"') != etag.strip('"') for number, etag in named):
            raise Refused(400, "InvalidPart")
        contents = [upload.parts[number] for number, _ in named]
        if any(len(one) < PART_BYTES_MIN for one in contents[:-1]):
            raise Refused(400, "EntityTooSmall")
        stored = self._write(bucket, name, b"".join(contents))
        del self.uploads[query["uploadId"]]
        fields = {"Bucket": bucket, "Key": name, "ETag": stored.etag}
        answer = _xml(_element("CompleteMultipartUploadResult", fields))
        answer.headers["x-goog-generation"] = str(stored.generation)
        return answer

    def _listing(self, bucket: str, query: Mapping[str, str]) -> ET.Element:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("start-after", "")
        if token := query.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode()
        rows: dict[str, Stored | None] = {}
        for name, stored in sorted(self.buckets[bucket].items()):
            rest = name.removeprefix(prefix)
            if not name.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                rows[prefix + rest.partition(delimiter)[0] + delimiter] = None
            else:
                rows[name] = stored
        left = [(name, stored) for name, stored in rows.items() if name > after]
        page = left[: min(self.page_max, int(query.get("max-keys", self.page_max)))]
        answer = _element("ListBucketResult", {"Name": bucket, "Prefix": prefix, "KeyCount": str(len(page))})
        answer.append(_element("IsTruncated", text=str(len(page) < len(left)).lower()))
        if len(page) < len(left):
            token = base64.urlsafe_b64encode(page[-1][0].encode()).decode()
            answer.append(_element("NextContinuationToken", text=token))
        for name, stored in page:
            if stored is None:
                answer.append(_element("CommonPrefixes", {"Prefix": name}))
                continue
            fields = {
                "Key": name,
                "Generation": str(stored.generation),
                "LastModified": f"{stored.modified:%Y-%m-%dT%H:%M:%S.000Z}",
                "ETag": stored.etag,
                "Size": str(len(stored.content)),
            }
            answer.append(_element("Contents", fields))
        return answer


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _element(name: str, fields: Mapping[str, str] | None = None, *, text: str = "") -> ET.Element:
    made = ET.Element(name)
    made.text = text
    for key, value in (fields or {}).items():
        made.append(_element(key, text=value))
    return made


def _xml(element: ET.Element) -> web.Response:
    body = ET.tostring(element, encoding="utf-8", xml_declaration=True)
    return web.Response(body=body, content_type="application/xml")
