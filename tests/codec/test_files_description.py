"""What of a file may lie readable in a store: its manifest and its start, if their keys are sealed, and nothing beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codec.files.manifest import is_description
from tests.codec.test_files_store import content_of, file_store, objects

SECRET = "the customer's name"


async def descriptions(folder: Path, **more: Any) -> dict[str, bytes]:
    await file_store(folder, **more).put(content_of(3000), upload="u")
    found = {name.partition("-")[0]: path.read_bytes() for name, path in objects(folder).items()}
    assert found.keys() == {"manifest", "start", "segment"}
    return found


async def test_manifests_and_starts_are_known_and_segments_are_not(tmp_path: Path) -> None:
    found = await descriptions(tmp_path)
    assert {name for name, content in found.items() if is_description(content)} == {"manifest", "start"}


async def test_a_key_that_lies_bare_is_told(tmp_path: Path) -> None:
    found = await descriptions(tmp_path, keys=None)
    assert not any(is_description(content) for content in found.values())


@pytest.mark.parametrize("which", ["manifest", "start"])
async def test_what_holds_more_is_none(tmp_path: Path, which: str) -> None:
    content = (await descriptions(tmp_path))[which]
    body, _, mac = content.partition(b"\n")
    document = json.loads(body)
    for change in (
        {"note": SECRET},
        {"uri": SECRET},
        {"format": SECRET},
        {"version": SECRET},
        {"chunk-bytes": SECRET},
        {"key": {**document["key"], "note": SECRET}},
        {"key": {**document["key"], "sealed": SECRET}},
        {"salts": SECRET},
        {"size": SECRET},
    ):
        assert not is_description(json.dumps(document | change).encode() + b"\n" + mac), change
    assert not is_description(body + b"\n" + SECRET.encode())
    assert not is_description(content + b"\n" + SECRET.encode())
    for other in (b"", b"{}", b"[" * 100_000, b"\xff", content + bytes(2**20)):
        assert not is_description(other)
