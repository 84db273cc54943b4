"""What a hostile store, or whoever gives a reader its handles, may do to files: cases for tests, each of which must be an error.

`tamperings()` is a hypothesis strategy of them; `outcome` reads as a client would and returns the error, or the content if
it was taken in. All is in memory, so ten thousands of cases are minutes.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import functools
import hashlib
import json
import random
from collections.abc import Mapping
from typing import Any

import obstore
from hypothesis import strategies as st
from obstore.store import MemoryStore

from codec import CodecError, FileHandle, FileKeys, FileStore, FixedKeys, KeyRing, OpenStore
from codec.files.handle import FileAddress
from codec.files.layout import TAG_BYTES, Shape

NAMESPACE, OTHER_NAMESPACE = "orders.acme", "billing.acme"
SHAPE = Shape(segment_bytes=512, chunk_bytes=128)
STEP = SHAPE.chunk_bytes + TAG_BYTES
CONTENT = random.Random(1).randbytes(3 * 512 + 200)
OLDER = CONTENT[:1600] + bytes(len(CONTENT) - 1600)


@dataclasses.dataclass(frozen=True)
class World:
    """A store as it was written by honest clients, and the handles that they gave out."""

    objects: Mapping[str, bytes]
    victim: FileHandle
    older: FileHandle
    others: tuple[FileHandle, ...]
    ring: KeyRing

    def of(self, handle: FileHandle, kind: str) -> list[str]:
        """The paths of a file's objects of one kind ("segment", "manifest", "start"), in order."""
        prefix = f"{FileAddress.parse(handle.uri).prefix}/{kind}-"
        return sorted(path for path in self.objects if path.startswith(prefix))


@dataclasses.dataclass(frozen=True)
class Tampering:
    """A store after somebody was at it, the handle and the keys that a client reads with."""

    kind: str
    objects: Mapping[str, bytes]
    handle: FileHandle
    ring: KeyRing
    start: int = 0
    stop: int | None = None


@functools.cache
def world() -> World:
    """The same in all cases of a process."""
    return asyncio.run(_honest())


async def outcome(tampering: Tampering) -> CodecError | bytes:
    """What a client makes of it; whatever else is raised is a defect and comes through."""
    store = MemoryStore()
    for path, content in tampering.objects.items():
        obstore.put(store, path, content)
    files = _file_store(store, NAMESPACE, tampering.ring, readable=(OTHER_NAMESPACE,))
    try:
        async with files.open(tampering.handle, start=tampering.start, stop=tampering.stop) as stream:
            return await stream.read()
    except CodecError as error:
        return error


@st.composite
def tamperings(draw: st.DrawFn) -> Tampering:
    """One change that must not go unseen; what a client reads includes the changed part."""
    honest = world()
    kind, change = draw(st.sampled_from(sorted(_CHANGES.items())))
    objects, handle, ring = dict(honest.objects), honest.victim, honest.ring
    objects, handle, ring = change(draw, honest, objects, handle, ring)
    return Tampering(kind, objects, handle, ring)


Parts = tuple[dict[str, bytes], FileHandle, KeyRing]


def _flip(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    path = _part(draw, honest)
    objects[path] = _flipped(draw, objects[path])
    return objects, handle, ring


def _cut(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    path = _part(draw, honest)
    objects[path] = objects[path][: draw(st.integers(0, len(objects[path]) - 1))]
    return objects, handle, ring


def _extend(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    path = _part(draw, honest)
    objects[path] += draw(st.binary(min_size=1, max_size=2 * STEP))
    return objects, handle, ring


def _lose(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    del objects[_part(draw, honest)]
    return objects, handle, ring


def _exchange(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    """Another object in its place: of the file, of an older version of it, of another file, namespace or key."""
    path = _part(draw, honest)
    other = draw(st.sampled_from([one for one in sorted(objects) if objects[one] != objects[path]]))
    objects[path], taken = objects[other], objects[path]
    if draw(st.booleans()):
        objects[other] = taken
    return objects, handle, ring


def _chunks(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    """A chunk in the place of another: moved, repeated, left out, of an older version, another file or namespace."""
    path = draw(st.sampled_from(_needed(honest)))
    sources = [
        one for given in (honest.victim, honest.older, *honest.others) for one in honest.of(given, "segment")
    ]
    mine, theirs = _split(objects[path]), _split(objects[draw(st.sampled_from(sources))])
    at, chunk = draw(st.integers(0, len(mine) - 1)), draw(st.sampled_from(theirs))
    match draw(st.sampled_from(["replace", "insert", "leave out"])):
        case "replace" if chunk != mine[at]:
            mine[at] = chunk
        case "insert" | "replace":
            mine.insert(at, chunk)
        case _:
            del mine[at]
    objects[path] = b"".join(mine)
    return objects, handle, ring


def _handle(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    """A handle with a part of its own altered, or taken of another."""
    field = draw(st.sampled_from(["uri", "size", "sha256", "manifest"]))
    given = getattr(handle, field)
    others = [getattr(other, field) for other in (honest.older, *honest.others)]
    strange: st.SearchStrategy[Any] = st.one_of(
        st.text(max_size=70), st.integers(), st.none(), st.sampled_from(others), st.floats(), st.booleans()
    )
    value = draw(strange.filter(lambda one: type(one) is not type(given) or one != given))
    return objects, dataclasses.replace(handle, **{field: value}), ring


def _forged(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    """A manifest of an attacker's making under its own hash, and a handle that names it."""
    [path] = _manifest(honest)
    body, _, mac = objects[path].rpartition(b"\n")
    document = json.loads(body)
    salts = base64.b64decode(document["salts"])
    parts = [salts[at : at + 16] for at in range(0, len(salts), 16)]
    size = handle.size
    match draw(st.sampled_from(["salts", "fewer", "sizes", "key", "mac", "bytes"])):
        case "salts":
            order = draw(st.permutations(range(len(parts))).filter(lambda one: list(one) != sorted(one)))
            document["salts"] = base64.b64encode(b"".join(parts[one] for one in order)).decode()
        case "fewer":
            kept = draw(st.integers(1, len(parts) - 1))
            size = document["size"] = kept * SHAPE.segment_bytes
            document["salts"] = base64.b64encode(b"".join(parts[:kept])).decode()
        case "sizes":
            document["chunk-bytes"] = draw(st.sampled_from([64, 256, 512, 0, -1, 2**40]))
        case "key":
            other = draw(st.sampled_from(honest.others))
            [theirs] = honest.of(other, "manifest")
            bare = {"bare": base64.b64encode(draw(st.binary(min_size=32, max_size=32))).decode()}
            document["key"] = draw(
                st.sampled_from([bare, json.loads(objects[theirs].split(b"\n")[0])["key"]])
            )
        case "mac":
            mac = draw(
                st.sampled_from([b"", b"0" * 64, mac[:-1], mac.upper()]).filter(lambda one: one != mac)
            )
    forged = json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n" + mac
    if forged == objects[path]:
        forged = _flipped(draw, forged)
    digest = hashlib.sha256(forged).hexdigest()
    objects[f"{FileAddress.parse(handle.uri).prefix}/manifest-{digest}"] = forged
    return objects, dataclasses.replace(handle, manifest=digest, size=size), ring


def _keys(
    draw: st.DrawFn, honest: World, objects: dict[str, bytes], handle: FileHandle, ring: KeyRing
) -> Parts:
    """A reader without the key, with another of its id, with it disabled, or under another binding."""
    readers = (
        KeyRing.create(ring.binding, key_id="k9"),
        KeyRing.create(ring.binding, key_id="k1"),
        ring.rotated(key_id="k9").disabled("k1"),
        KeyRing(binding="orders.evil", keys=ring.keys),
    )
    return objects, handle, draw(st.sampled_from(readers))


_CHANGES = {
    "a bit of an object": _flip,
    "an object cut short": _cut,
    "an object made longer": _extend,
    "an object lost": _lose,
    "objects exchanged": _exchange,
    "chunks moved": _chunks,
    "the handle": _handle,
    "a forged manifest": _forged,
    "other keys": _keys,
}


def _part(draw: st.DrawFn, honest: World) -> str:
    """An object that the victim's content needs."""
    return draw(st.sampled_from([*_needed(honest), *_manifest(honest)]))


def _manifest(honest: World) -> list[str]:
    victim = honest.victim
    return [path for path in honest.of(victim, "manifest") if path.endswith(victim.manifest)]


def _needed(honest: World) -> list[str]:
    """The victim's segments; those of its older version lie beside them."""
    [manifest] = _manifest(honest)
    salts = base64.b64decode(json.loads(honest.objects[manifest].split(b"\n")[0])["salts"]).hex()
    named = {salts[at : at + 32] for at in range(0, len(salts), 32)}
    return [path for path in honest.of(honest.victim, "segment") if path.rpartition("-")[2] in named]


def _flipped(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, len(content) * 8 - 1))
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def _split(stored: bytes) -> list[bytes]:
    return [stored[at : at + STEP] for at in range(0, len(stored), STEP)]


def _file_store(
    store: MemoryStore, namespace: str, ring: KeyRing, readable: tuple[str, ...] = ()
) -> FileStore:
    return FileStore(
        OpenStore(store, "memory"),
        namespace=namespace,
        keys=FileKeys(keys=FixedKeys(ring), refuse_plaintext=True),
        readable_namespaces=readable,
        shape=SHAPE,
    )


async def _honest() -> World:
    store, ring = MemoryStore(), KeyRing.create("orders.acme", key_id="k1")
    files = _file_store(store, NAMESPACE, ring)
    older = await files.put(OLDER, upload="u")
    victim = await files.put(CONTENT, upload="u")
    others = (
        await files.put(CONTENT),
        await files.put(CONTENT[::-1]),
        await _file_store(store, NAMESPACE, ring.rotated(key_id="k2")).put(CONTENT),
        await _file_store(store, OTHER_NAMESPACE, ring).put(CONTENT, upload="u"),
    )
    paths = [one["path"] for page in obstore.list(store) for one in page]
    objects = {path: bytes(obstore.get(store, path).bytes()) for path in sorted(paths)}
    # Reading needs the newer key for some of the others, and never does for the victim.
    return World(objects, victim, older, others, ring)
