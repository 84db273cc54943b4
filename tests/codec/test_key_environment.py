"""A key ring out of the environment: in a variable, or in a file that a platform mounts."""

from __future__ import annotations

import base64
import traceback
from pathlib import Path

import pytest

from codec import ANYONE, KeyRing, KeyRingError, create_key_ring, keys_from_environment, ring_to_json


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.create("orders.acme", key_id="k1").rotated(key_id="k2")


def test_json_and_base64(ring: KeyRing) -> None:
    content = ring_to_json(ring)
    wrapped = base64.encodebytes(content).decode()
    for text in (content.decode(), base64.b64encode(content).decode(), wrapped, f"\n {content.decode()}"):
        keys = keys_from_environment({"TACIT_KEY_RING": text})
        found = keys.sealing(ANYONE, 1)
        assert found is not None
        assert (found.id, found.binding) == ("k2", "orders.acme")
        assert found.material.same_as(ring.active.material)


def test_another_variable(ring: KeyRing) -> None:
    keys = keys_from_environment({"ORDERS": ring_to_json(ring).decode()}, variable="ORDERS")
    assert keys.current().active.id == "k2"


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o600, 0o644])
@pytest.mark.parametrize("as_base64", [True, False])
def test_a_mounted_file(ring: KeyRing, tmp_path: Path, mode: int, as_base64: bool) -> None:
    path = tmp_path / "ring"
    content = ring_to_json(ring)
    path.write_bytes(base64.b64encode(content) if as_base64 else content)
    path.chmod(mode)
    assert keys_from_environment({"TACIT_KEY_RING_FILE": str(path)}).current().active.id == "k2"


@pytest.mark.parametrize("mode", [0o622, 0o666, 0o664])
def test_a_file_that_others_can_change_is_refused(ring: KeyRing, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ring"
    path.write_bytes(ring_to_json(ring))
    path.chmod(mode)
    with pytest.raises(KeyRingError, match=f"can be changed by other users .mode {mode:04o}"):
        keys_from_environment({"TACIT_KEY_RING_FILE": str(path)})


def test_an_exchanged_secret_is_followed(ring: KeyRing, tmp_path: Path) -> None:
    """As Kubernetes does it: a link to a folder is turned to another folder."""
    for name, held in (("first", ring), ("second", ring.rotated(key_id="k3"))):
        (tmp_path / name).mkdir()
        create_key_ring(tmp_path / name / "ring.json", held)
    (tmp_path / "data").symlink_to("first")
    (tmp_path / "ring.json").symlink_to("data/ring.json")
    keys = keys_from_environment({"TACIT_KEY_RING_FILE": str(tmp_path / "ring.json")}, refresh_seconds=0)
    assert keys.current().active.id == "k2"
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").rename(tmp_path / "data")
    assert keys.current().active.id == "k3"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"Neither TACIT_KEY_RING .* nor TACIT_KEY_RING_FILE"),
        ({"TACIT_KEY_RING": ""}, "Neither"),
        ({"TACIT_KEY_RING": "{}", "TACIT_KEY_RING_FILE": "/x"}, "both set"),
        ({"TACIT_KEY_RING": "hunter2 is no ring"}, "neither JSON nor base64"),
        ({"TACIT_KEY_RING": '{"hunter2": "'}, "cut or damaged: it is not valid JSON"),
        ({"TACIT_KEY_RING": "aHVudGVyMg=="}, "not valid JSON"),
        ({"TACIT_KEY_RING": '{"format": "hunter2"}'}, "does not hold keys"),
        ({"TACIT_KEY_RING": "\ud800hunter2"}, "neither JSON nor base64"),
        ({"TACIT_KEY_RING_FILE": "/nowhere/ring"}, "no key ring at /nowhere/ring"),
    ],
)
def test_faults_show_nothing_of_it(environment: dict[str, str], message: str) -> None:
    with pytest.raises(KeyRingError, match=message) as caught:
        keys_from_environment(environment)
    text = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in text.split("KeyRingError:")[1]
    assert caught.value.__cause__ is None


def test_cut_anywhere_it_is_refused_and_not_shown(ring: KeyRing) -> None:
    text = base64.b64encode(ring_to_json(ring)).decode()
    for length in range(1, len(text) - 8, 7):
        with pytest.raises(KeyRingError) as caught:
            keys_from_environment({"TACIT_KEY_RING": text[:length]})
        assert text[:24] not in str(caught.value)
        assert len(str(caught.value)) < 300
