"""Destroying keys: what is left, what is gone, and that a crash costs nothing else."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from codec import (
    ANYONE,
    DestroyedKey,
    KeyRing,
    KeyRingError,
    KeyRingFile,
    KeyState,
    create_key_ring,
    export_keys,
    import_keys,
    load_key_ring,
    ring_to_json,
    update_key_ring,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def states(ring: KeyRing) -> dict[str, str]:
    return {key.id: key.state.value for key in ring.keys}


class TestDestroy:
    def test_leaves_id_and_dates(self, path: Path) -> None:
        ring = KeyRing.create("a", key_id="k1").rotated(key_id="k2").rotated(key_id="k3").disabled("k1")
        material = [key.material.reveal() for key in ring.keys]
        create_key_ring(path, ring)
        gone = update_key_ring(path, lambda ring: ring.destroyed("k1").destroyed("k2"), erase_old=True)
        read = load_key_ring(path)
        assert read.tombstones == gone.tombstones
        assert [(one.id, one.created, one.state) for one in read.tombstones] == [
            (key.id, key.created, KeyState.DESTROYED) for key in ring.keys[:2]
        ]
        assert states(read) == {"k3": "active"}
        content = path.read_bytes()
        assert base64.b64encode(material[2]) in content
        assert all(base64.b64encode(one) not in content for one in material[:2])
        assert read.destroyed("k1") is read

    def test_what_names_it_is_told_so(self) -> None:
        ring = KeyRing.create("a", key_id="k1").rotated(key_id="k2").destroyed("k1")
        with pytest.raises(
            DestroyedKey, match=r"'k1'.*destroyed in the key ring on 2.*unreadable for ever"
        ) as caught:
            ring.decrypting("k1")
        assert caught.value.key_id == "k1"
        for change in (ring.activated, ring.enabled, ring.disabled):
            with pytest.raises(KeyRingError, match=r"'k1' was destroyed .* nothing brings it back"):
                change("k1")
        with pytest.raises(KeyRingError, match="several keys with the id 'k1'"):
            ring.rotated(key_id="k1")
        with pytest.raises(KeyRingError, match=r"'k1' was destroyed in .* nothing to export"):
            export_keys(ring, ["k1"])
        with pytest.raises(KeyRingError, match="no key 'k9'"):
            ring.destroyed("k9")

    def test_a_copy_does_not_bring_it_back(self) -> None:
        ring = KeyRing.create("a", key_id="k1").rotated(key_id="k2")
        _, keys = import_keys(export_keys(ring, ["k1"]), source="a copy")
        with pytest.raises(KeyRingError, match=r"'k1' was destroyed .* is not taken in again"):
            ring.destroyed("k1").with_key(keys[0])

    def test_active_key_is_refused(self) -> None:
        with pytest.raises(KeyRingError, match=r"active one. Run `tacit keys rotate` first, then destroy"):
            KeyRing.create("a", key_id="k1").destroyed("k1")

    def test_old_bytes_are_overwritten_on_the_disk(self, path: Path) -> None:
        create_key_ring(path, KeyRing.create("a", key_id="k1").rotated(key_id="k2"))
        leftover = path.with_name(".keyring.json.0123456789ab.tmp")
        leftover.write_bytes(path.read_bytes())
        with path.open("rb") as before, leftover.open("rb") as cut:
            update_key_ring(path, lambda ring: ring.destroyed("k1"), erase_old=True)
            assert set(before.read()) == {0}
            assert set(cut.read()) == {0}
        assert {one.name for one in path.parent.iterdir()} == {"keyring.json", ".keyring.json.lock"}

    def test_a_copy_under_another_name_is_left(self, path: Path) -> None:
        create_key_ring(path, KeyRing.create("a", key_id="k1").rotated(key_id="k2"))
        backup = path.with_name("backup.json")
        backup.hardlink_to(path)
        update_key_ring(path, lambda ring: ring.destroyed("k1"), erase_old=True)
        assert states(load_key_ring(backup)) == {"k1": "decrypt-only", "k2": "active"}

    def test_running_workers_learn_of_it(self, path: Path) -> None:
        create_key_ring(path, KeyRing.create("a", key_id="k1").rotated(key_id="k2"))
        watched = KeyRingFile(path, refresh_seconds=0)
        assert watched.opening("k1", None, ANYONE) is not None
        update_key_ring(path, lambda ring: ring.destroyed("k1"), erase_old=True)
        with pytest.raises(DestroyedKey):
            watched.opening("k1", None, ANYONE)

    def test_a_ring_without_destroyed_keys_is_written_as_ever(self) -> None:
        ring = KeyRing.create("a", key_id="k1").rotated(key_id="k2")
        assert json.loads(ring_to_json(ring))["version"] == 1
        assert json.loads(ring_to_json(ring.destroyed("k1")))["version"] == 2


CRASH = """
import os, sys
from pathlib import Path
import codec
from codec import secret_files
steps = int(sys.argv[2])

def crashing(name, module):
    original = getattr(module, name)
    def call(*arguments, **named):
        global steps
        if steps == 0:
            os._exit(9)
        steps -= 1
        return original(*arguments, **named)
    setattr(module, name, call)

for name in ("open", "fsync", "replace", "rename", "pwrite", "unlink", "fchmod"):
    crashing(name, os)
codec.update_key_ring(Path(sys.argv[1]), lambda ring: ring.destroyed("k1"), erase_old=True)
"""


def test_a_crash_at_any_step_of_destroying_loses_no_other_key(path: Path) -> None:
    create_key_ring(path, KeyRing.create("a", key_id="k1").rotated(key_id="k2"))
    before, seen = path.read_bytes(), set()
    for step in range(40):
        path.write_bytes(before)
        done = subprocess.run([sys.executable, "-c", CRASH, str(path), str(step)], timeout=60, check=False)
        ring = load_key_ring(path)
        assert ring.active.id == "k2"
        seen.add(ring.tombstone("k1") is not None)
        if done.returncode == 0:
            break
        assert done.returncode == 9
    assert done.returncode == 0
    assert seen == {True, False}
