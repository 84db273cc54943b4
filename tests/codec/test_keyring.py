"""The key ring: its rules, its file, its errors, and that no key ever shows."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import (
    ANYONE,
    DisabledKey,
    Key,
    KeyRing,
    KeyRingError,
    KeyRingFile,
    KeyState,
    MissingKey,
    create_key_ring,
    export_keys,
    import_keys,
    load_key_ring,
    ring_from_json,
    ring_to_json,
    update_key_ring,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def states(ring: KeyRing) -> dict[str, str]:
    return {key.id: key.state.value for key in ring.keys}


def test_written_and_read_again(path: Path) -> None:
    ring = KeyRing.create("orders.acme", key_id="first").rotated(key_id="second").disabled("first")
    create_key_ring(path, ring)
    read = load_key_ring(path)
    assert read.binding == "orders.acme"
    assert states(read) == {"first": "disabled", "second": "active"}
    for key in ring.keys:
        found = read.find(key.id)
        assert found is not None
        assert found.material.same_as(key.material)
        assert found.created == key.created
    assert path.stat().st_mode & 0o777 == 0o600


def test_file_is_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o777)
    try:
        create_key_ring(path, KeyRing.create("a"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_life_of_a_key() -> None:
    ring = KeyRing.create("a", key_id="k1")
    assert ring.active.id == "k1"
    ring = ring.rotated(key_id="k2")
    assert states(ring) == {"k1": "decrypt-only", "k2": "active"}
    assert ring.decrypting("k1").id == "k1"
    ring = ring.disabled("k1")
    with pytest.raises(DisabledKey, match=r"'k1'.*tacit keys enable k1"):
        ring.decrypting("k1")
    with pytest.raises(KeyRingError, match="tacit keys enable k1"):
        ring.activated("k1")
    ring = ring.enabled("k1")
    assert ring.enabled("k2") is ring
    assert states(ring.activated("k1")) == {"k1": "active", "k2": "decrypt-only"}


def test_active_key_is_not_disabled() -> None:
    with pytest.raises(KeyRingError, match=r"active one. Run `tacit keys rotate` first"):
        KeyRing.create("a", key_id="k1").disabled("k1")


def test_missing_key_names_the_key_and_the_way_out() -> None:
    with pytest.raises(MissingKey, match=r"'gone'.*tacit keys export gone.*tacit keys import") as caught:
        KeyRing.create("a").decrypting("gone")
    assert caught.value.key_id == "gone"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777, 0o610])
def test_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    create_key_ring(path, KeyRing.create("a"))
    path.chmod(mode)
    with pytest.raises(KeyRingError, match=f"open to other users .*{mode:04o}.*chmod 600"):
        load_key_ring(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused(path: Path) -> None:
    create_key_ring(path, KeyRing.create("a"))
    os.chown(path, 12345, -1)
    with pytest.raises(KeyRingError, match="belongs to user id 12345"):
        load_key_ring(path)


def test_what_is_no_file_is_refused(path: Path) -> None:
    with pytest.raises(
        KeyRingError, match=r"no key ring at .*your copy .* back.*can't read.*tacit keys init"
    ):
        load_key_ring(path)
    with pytest.raises(KeyRingError, match="no key ring at"):
        update_key_ring(path, KeyRing.rotated)
    assert list(path.parent.iterdir()) == []
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyRingError, match="not a regular file"):
        load_key_ring(path)
    with pytest.raises(KeyRingError, match="not a regular file"):
        load_key_ring(path.parent)


def test_existing_file_is_never_overwritten(path: Path) -> None:
    first = KeyRing.create("a", key_id="first")
    create_key_ring(path, first)
    with pytest.raises(KeyRingError, match="exists already"):
        create_key_ring(path, KeyRing.create("a", key_id="second"))
    assert load_key_ring(path).active.id == "first"


def test_a_file_cut_anywhere_is_refused_without_showing_it() -> None:
    content = ring_to_json(KeyRing.create("a").rotated())
    material = json.loads(content)["keys"][0]["material"]
    for length in range(len(content) - 2):
        with pytest.raises(KeyRingError, match="cut or damaged") as caught:
            ring_from_json(content[:length], source="the ring")
        text = "".join(traceback.format_exception(caught.value))
        assert material not in text
        assert caught.value.__cause__ is None


@given(st.binary(max_size=200))
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(KeyRingError):
        ring_from_json(content, source="the ring")


GONE = {"id": "k0", "created": "2026-01-01T00:00:00Z", "destroyed": "2026-02-01T00:00:00Z"}


def edited(change: Callable[[dict[str, object]], object]) -> bytes:
    document = json.loads(ring_to_json(KeyRing.create("a", key_id="k1").rotated(key_id="k2")))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="other"), "does not hold keys"),
        (lambda d: d.update(version=3), "format version '3'.*newer Tacit"),
        (lambda d: d.update(version=2), "no 'destroyed'"),
        (lambda d: d.update(destroyed=[]), "'destroyed', which this Tacit does not know"),
        (lambda d: d["keys"][0].update(state="destroyed"), "'k1' is destroyed and still has its bytes"),
        (lambda d: d.update(version=2, destroyed=[{"id": "k0"}]), "a destroyed key has no 'created'"),
        (lambda d: d.update(version=2, destroyed=[GONE | {"id": "k1"}]), "several keys with the id 'k1'"),
        (lambda d: d.update(version=2, destroyed=[GONE | {"destroyed": "x"}]), "'k0' has a wrong time"),
        (lambda d: d.update(version=2, destroyed=[GONE | {"material": ""}]), "a field 'material'"),
        (lambda d: d.update(version=True), "format version|right type"),
        (lambda d: d.update(extra=1), "'extra', which this Tacit does not know"),
        (lambda d: d.pop("binding"), "no 'binding'"),
        (lambda d: d.update(binding=""), "A binding is"),
        (lambda d: d.update(binding="a\nb"), "A binding is"),
        (lambda d: d.update(keys={}), "no 'keys' of the right type"),
        (lambda d: d.update(keys=[]), "exactly one active key; this one has 0"),
        (lambda d: d.update(keys=[1]), "not a table"),
        (lambda d: d["keys"].append(d["keys"][0]), "several keys with the id 'k1'"),
        (lambda d: d["keys"][0].update(state="active"), "exactly one active key; this one has 2"),
        (lambda d: d["keys"][0].update(state="resting"), "'k1' has a wrong state"),
        (lambda d: d["keys"][0].update(created="yesterday"), "'k1' has a wrong state .* or creation time"),
        (lambda d: d["keys"][0].update(created="2026-01-01T00:00:00"), "without a time zone"),
        (lambda d: d["keys"][0].update(material="AAAA"), "A key has 32 bytes, not 3"),
        (lambda d: d["keys"][0].update(material="%%%"), "'k1' is not base64"),
        (lambda d: d["keys"][0].update(id="k3"), "'k3' does not fit its check digits"),
        (lambda d: d["keys"][0].update(check="ü"), "'k1' does not fit its check digits"),
        (
            lambda d: d["keys"][0].update(material=d["keys"][1]["material"]),
            "'k1' does not fit its check digits",
        ),
    ],
)
def test_altered_ring_is_refused(change: Callable[[dict[str, object]], object], message: str) -> None:
    with pytest.raises(KeyRingError, match=f"(?s)the ring is not usable: .*({message})"):
        ring_from_json(edited(change), source="the ring")


@pytest.mark.parametrize("key_id", ["", " ", "a b", "-a", "ä", "a" * 129, "a\n", "../x y"])
def test_strange_key_ids_are_refused(key_id: str) -> None:
    with pytest.raises(KeyRingError, match="no key id"):
        KeyRing.create("a").rotated(key_id=key_id) if key_id else Key(
            id="",
            state=KeyState.ACTIVE,
            created=KeyRing.create("a").active.created,
            material=KeyRing.create("a").active.material,
        )


def test_keys_do_not_show(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = KeyRing.create("a")
    secret = ring.active.material.reveal()
    create_key_ring(path, ring)
    shown = [
        repr(ring),
        str(ring),
        repr(ring.keys),
        f"{ring.active}",
        repr(ring.active.material),
        repr(KeyRingFile(path)),
    ]
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").warning("%s %r", ring, ring.active)
    shown.append(caplog.text)
    for text in shown:
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ring)
    assert copy.deepcopy(ring.active.material) is ring.active.material


def test_export_and_import() -> None:
    source = KeyRing.create("a", key_id="k1").rotated(key_id="k2")
    binding, keys = import_keys(export_keys(source, ["k1"]), source="the file")
    assert (binding, [key.id for key in keys]) == ("a", ["k1"])
    target = KeyRing.create("a", key_id="k3").with_key(keys[0])
    assert states(target) == {"k3": "active", "k1": "decrypt-only"}
    assert target.with_key(keys[0]) is target
    assert states(target.with_key(keys[0], activate=True)) == {"k3": "decrypt-only", "k1": "active"}
    assert [key.id for key in import_keys(ring_to_json(source), source="a ring")[1]] == ["k1", "k2"]
    with pytest.raises(KeyRingError, match="no key 'k9'"):
        export_keys(source, ["k9"])
    with pytest.raises(KeyRingError, match="holds no keys"):
        import_keys(export_keys(source, []), source="the file")


def test_import_never_replaces_a_key() -> None:
    ring = KeyRing.create("a", key_id="k1")
    stranger = KeyRing.create("a", key_id="k1").active
    with pytest.raises(KeyRingError, match="another key with the id 'k1'"):
        ring.with_key(stranger)
    twin = Key(id="k2", state=KeyState.ACTIVE, created=ring.active.created, material=ring.active.material)
    with pytest.raises(KeyRingError, match="already, under the id 'k1'"):
        ring.with_key(twin)


def test_failed_change_leaves_the_file(path: Path) -> None:
    create_key_ring(path, KeyRing.create("a", key_id="k1"))
    before = path.read_bytes()
    with pytest.raises(KeyRingError):
        update_key_ring(path, lambda ring: ring.disabled("k1"))
    assert path.read_bytes() == before
    assert {one.name for one in path.parent.iterdir()} == {"keyring.json", ".keyring.json.lock"}


ROTATE = """
import sys
from pathlib import Path
from codec import KeyRing, update_key_ring
for _ in range(10):
    update_key_ring(Path(sys.argv[1]), KeyRing.rotated)
"""


def test_processes_that_rotate_at_once_lose_no_key(path: Path) -> None:
    create_key_ring(path, KeyRing.create("a", key_id="k0"))
    running = [subprocess.Popen([sys.executable, "-c", ROTATE, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    ring = load_key_ring(path)
    assert len(ring.keys) == 31
    assert ring.find("k0") is not None


def test_update_through_a_symbolic_link_keeps_the_link(path: Path) -> None:
    real = path.with_name("real.json")
    create_key_ring(real, KeyRing.create("a"))
    path.symlink_to(real)
    update_key_ring(path, KeyRing.rotated)
    assert path.is_symlink()
    assert len(load_key_ring(real).keys) == 2


class TestKeyRingFile:
    def test_follows_a_rotation(self, path: Path) -> None:
        create_key_ring(path, KeyRing.create("a", key_id="k1"))
        watched = KeyRingFile(path, refresh_seconds=0)
        update_key_ring(path, lambda ring: ring.rotated(key_id="k2"))
        assert watched.current().active.id == "k2"

    def test_looks_at_once_for_a_key_it_does_not_know(self, path: Path) -> None:
        create_key_ring(path, KeyRing.create("a", key_id="k1"))
        watched = KeyRingFile(path, refresh_seconds=3600)
        update_key_ring(path, lambda ring: ring.rotated(key_id="k2"))
        assert watched.current().active.id == "k1"
        found = watched.opening("k2", None, ANYONE)
        assert found is not None
        assert found.id == "k2"
        assert watched.current().active.id == "k2"
        with pytest.raises(MissingKey):
            watched.opening("k3", None, ANYONE)

    def test_keeps_the_last_good_ring_and_says_so(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        create_key_ring(path, KeyRing.create("a", key_id="k1"))
        good = path.read_bytes()
        watched = KeyRingFile(path, refresh_seconds=0)
        path.write_bytes(good[:50])
        assert watched.current().active.id == "k1"
        assert watched.current().active.id == "k1"
        assert caplog.text.count("key ring not read again") == 1
        path.unlink()
        assert watched.current().active.id == "k1"
        create_key_ring(path, KeyRing.create("a", key_id="k2"))
        assert watched.current().active.id == "k2"
