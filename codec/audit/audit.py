"""The audit: sources of any kind in, a report out.

    audit = Audit(Needles(read_canaries(Path("canaries.txt"))))
    audit.path(Path("data"))                       # databases, logs, captures: told apart by how they begin
    audit.database("postgresql://host/tacit")
    audit.objects("s3://bucket/prefix")
    audit.report.clean

Text is looked for raw and in the forms in which it leaks (`needles`, `unpacking`); payloads are judged wherever they stand
(`payloads`). What an audit can't see: text in other compressions or encryptions, in TLS, or cut by the pages of a database
whose row is deleted already.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import obstore

from codec.audit import capture, databases
from codec.audit.looking import Looker, Progress
from codec.audit.mapping import mapped
from codec.audit.needles import AuditError, Needles
from codec.audit.payloads import SHORT_BYTES, looks_random, payloads_in
from codec.audit.report import Report
from codec.audit.unpacking import Budget
from codec.files.manifest import MANIFEST_MAX_BYTES, is_description
from codec.storage.object_store import STORE_ERRORS, OpenStore, open_store

OBJECT_HELD_BYTES_MAX = 16 * 1024 * 1024
"""Larger objects are looked at from a temporary file."""


class Audit:
    """One audit over any number of sources; what it finds is in `report`."""

    def __init__(self, needles: Needles | None = None, progress: Progress | None = None) -> None:
        self._needles = needles or Needles([])
        self._seen = set[Path]()
        self.report = Report(self._needles.count)
        self._looker = Looker(self._needles, self.report, progress)

    def path(self, path: Path) -> None:
        """A file, or all files in and under a directory; each once. An SQLite file takes its journals along.

        Raises:
            AuditError: it is not there, or can't be read.
        """
        if not path.exists():
            raise AuditError(f"{path} is not there.")
        for file in files_under(path):
            try:
                self._file(file)
            except OSError as error:
                raise AuditError(f"{file} can't be read: {error.strerror or error}.") from None

    def database(self, url: str) -> None:
        """A database by URL (Postgres) or path (SQLite, with its journals).

        Raises:
            AuditError: it can't be read.
        """
        if databases.is_postgres(url):
            databases.look_at_postgres(self._looker, url)
            return
        path = Path(url.removeprefix("sqlite:///"))
        if not path.is_file():
            raise AuditError(
                f"{url.rpartition('@')[2]!r} is no database: give the path of an SQLite file, or a postgresql:// URL."
            )
        self.path(path)

    def objects(self, url: str, options: Mapping[str, str] | None = None) -> None:
        """All objects of a store, each of which should be ciphertext; a directory may be given as a path.

        Raises:
            codec.OffloadError: no such kind of store.
            AuditError: it can't be read.
        """
        if "://" not in url:
            if not Path(url).is_dir():
                raise AuditError(f"{url} is no directory.")
            url = Path(url).resolve().as_uri()
        store = open_store(url, options)
        budget = self._looker.begin(store.place)
        try:
            for batch in obstore.list(store.raw):
                for meta in batch:
                    self._object(store, meta["path"], meta["size"], budget)
        except STORE_ERRORS as error:
            raise AuditError(str(store.failure("", "read from", error))) from None

    def _object(self, store: OpenStore, path: str, size: int, budget: Budget) -> None:
        with tempfile.TemporaryDirectory(prefix="tacit-audit-") as folder:
            if size <= OBJECT_HELD_BYTES_MAX:
                content = memoryview(bytes(obstore.get(store.raw, path).bytes()))
            else:
                held = Path(folder) / "object"
                with held.open("wb") as file:
                    for piece in obstore.get(store.raw, path).stream():
                        file.write(piece)
                content = mapped(held)
            self._looker.advance(store.place, len(content))
            self._looker.look(content, store.place, path, budget)
            self._judge_object(content, store.place, path)

    def _judge_object(self, content: memoryview, source: str, place: str) -> None:
        self._looker.readable("object: its path and size", f"{place}, {len(content)} bytes")
        if len(content) < SHORT_BYTES or next(payloads_in(content[:65536]), None) is not None:
            return
        if len(content) <= MANIFEST_MAX_BYTES and is_description(bytes(content)):
            self._looker.readable("object: a file's size, key id and form", place)
        elif looks_random(content):
            self.report.opaque["objects that are no payload and look random"] += 1
        else:
            self.report.found_text(
                f"object of {len(content)} bytes: no payload, and no ciphertext", source, place
            )

    def _file(self, path: Path, *, beside: bool = False) -> None:
        real = path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        if beside:
            self.report.taken_along.append(str(path))
        data = mapped(path)
        head = bytes(data[:16])
        if head[:4] in capture.MAGICS:
            capture.look_at_capture(self._looker, path)
            return
        source = str(path)
        budget = self._looker.begin(source)
        # Pages of a database hold copies of rows, and what is left of rows that were deleted.
        pages = databases.pages_of(bytes(data[:100]))
        self._looker.look(data, source, "pages" if pages else "content", budget, pages=pages)
        self._looker.advance(source, len(data))
        if head == databases.SQLITE_MAGIC:
            # Where rows that were deleted live on, mostly; the database finds them beside what a link leads to.
            for companion in databases.sqlite_companions(real):
                self._file(companion, beside=True)
            databases.look_at_sqlite(self._looker, path)


def files_under(path: Path) -> Iterator[Path]:
    """A file itself, or all regular files in and under a directory; links are not followed."""
    if path.is_file():
        yield path
        return
    for one in sorted(path.rglob("*")):
        if one.is_file() and not one.is_symlink():
            yield one
