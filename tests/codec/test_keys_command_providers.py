"""`tacit keys check`, `forget`, `reseal`, and what `destroy` and the others say where keys come from elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from codec import (
    ANYONE,
    FixedKeys,
    KeyRing,
    Scope,
    SubjectKeys,
    SubjectStore,
    each_workflow,
    load_key_ring,
    ring_to_json,
)
from tests.codec.test_keys_command import Command
from tests.openbao import TOKEN
from tests.processes import free_port


class Profiled(Command):
    """With a profile's settings."""

    def settings(self, **fields: str) -> None:
        lines = [f'{name.replace("_", "-")} = "{value}"' for name, value in fields.items()]
        (self.folder / "tacit.toml").write_text(
            "\n".join(["version = 1", "[profile.default]", *lines]) + "\n"
        )

    def checked(self, *, code: int = 0, env: dict[str, str] | None = None) -> dict[str, dict[str, str]]:
        done = self.run("check", "--output", "json", code=code, env=env)
        return {row["check"]: row for row in json.loads(done.stdout)}


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profiled:
    for name in ("VAULT_ADDR", "VAULT_TOKEN", "TACIT_KEY_RING", "TACIT_KEY_RING_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Profiled(tmp_path)


@pytest.fixture
def subjects(keys: Profiled) -> Profiled:
    """A ring k1, k2 and a store in which w1 and w2 have keys, sealed under k1."""
    keys.run("init", "--binding", "a", "--key-id", "k1")
    keys.settings(key_ring=str(keys.ring), subject_keys=f"file://{keys.folder}/subjects")
    asyncio.run(_seal(keys, "w1", "w2"))
    keys.run("rotate", "--key-id", "k2")
    return keys


async def _seal(keys: Profiled, *workflows: str) -> None:
    holder = _holder(keys)
    for one in workflows:
        await holder.fetch_sealing(Scope(workflow_id=one), 1)


def _holder(keys: Profiled) -> SubjectKeys:
    store = SubjectStore(f"file://{keys.folder}/subjects")
    return SubjectKeys(FixedKeys(load_key_ring(keys.ring)), store, each_workflow, binding="a")


class TestCheck:
    def test_a_ring(self, keys: Profiled) -> None:
        keys.run("init", "--binding", "a", "--key-id", "k1")
        keys.run("rotate", "--key-id", "k2")
        keys.run("destroy", "k1", "--yes")
        checks = keys.checked()
        assert [(name, row["result"]) for name, row in checks.items()] == [
            ("open", "right"),
            ("encrypt", "right"),
            ("decrypt", "right"),
        ]
        assert "1 active, 1 destroyed" in checks["open"]["detail"]
        assert checks["encrypt"]["detail"] == "new payloads are under key k2, bound to a"
        assert "k2" in keys.run("check", "--key-ring", str(keys.ring)).stdout
        keys.ring.chmod(0o644)
        assert "chmod 600" in keys.checked(code=1)["open"]["detail"]
        assert keys.run("check", code=1).stderr.startswith("error: ")

    def test_the_environment(self, keys: Profiled) -> None:
        ring = ring_to_json(KeyRing.create("a", key_id="from-environment")).decode()
        assert "from-environment" in keys.checked(env={"TACIT_KEY_RING": ring})["encrypt"]["detail"]
        assert "cut or damaged" in keys.checked(env={"TACIT_KEY_RING": ring[:99]}, code=1)["open"]["detail"]

    def test_a_key_service_that_is_not_there(self, keys: Profiled) -> None:
        keys.settings(key_provider=f"vault-transit:transit/orders?address=http://127.0.0.1:{free_port()}")
        checks = keys.checked(code=1, env={"VAULT_TOKEN": TOKEN})
        assert checks["open"]["result"] == "right"
        assert "can't be reached" in checks["encrypt"]["detail"]
        assert "decrypt" not in checks
        assert TOKEN not in json.dumps(checks)

    def test_a_key_service_that_can_not_even_be_asked(self, keys: Profiled) -> None:
        keys.settings(key_provider="vault-transit:transit/orders?address=http://127.0.0.1:1")
        checks = keys.checked(code=1, env={"VAULT_TOKEN": "", "HOME": str(keys.folder)})
        assert [(name, row["result"]) for name, row in checks.items()] == [("open", "wrong")]
        assert "was not asked: there is no token" in checks["open"]["detail"]

    def test_subjects(self, subjects: Profiled) -> None:
        assert subjects.checked()["subjects"]["result"] == "right"
        (subjects.folder / "subjects" / "v1" / "store.json").write_text("{")
        assert "store.json" in subjects.checked(code=1)["subjects"]["detail"]

    def test_without_keys(self, keys: Profiled) -> None:
        assert "names no key ring" in keys.run("check", code=1).stderr
        keys.settings(encryption="off")
        assert "encryption off" in keys.run("check", code=1).stderr


class TestForget:
    def test_one_subject(self, subjects: Profiled) -> None:
        done = subjects.json("forget", "w1", "--yes")
        assert isinstance(done, dict)
        assert (done["subject"], done["had_a_key"], done["new_data"]) == ("w1", True, "refused")
        with pytest.raises(Exception, match="was forgotten"):
            asyncio.run(_seal(subjects, "w1"))
        asyncio.run(_seal(subjects, "w2"))
        again = subjects.run("forget", "w1", "--yes", "--allow-new")
        assert "no key of that subject to delete" in again.stderr
        asyncio.run(_seal(subjects, "w1"))

    def test_only_when_meant(self, subjects: Profiled) -> None:
        assert "give --yes" in subjects.run("forget", "w1", code=2).stderr
        asyncio.run(_seal(subjects, "w1"))

    def test_without_a_store(self, keys: Profiled) -> None:
        keys.run("init", "--binding", "a")
        assert "subject-keys names no store" in keys.run("forget", "w1", "--yes", code=1).stderr


class TestDestroy:
    def test_a_key_that_subjects_need_is_refused_until_they_are_resealed(self, subjects: Profiled) -> None:
        assert (
            "2 subjects' keys are sealed with key k1" in subjects.run("destroy", "k1", "--yes", code=1).stderr
        )
        assert subjects.json("reseal") == {"subjects": 2, "sealed_anew": 2}
        subjects.run("destroy", "k1", "--yes")
        asyncio.run(_seal(subjects, "w1", "w2"))
        assert subjects.states() == {"k2": "active"}


@pytest.mark.parametrize(
    "command", [["list"], ["rotate"], ["destroy", "k1", "--yes"], ["init"], ["export", "k1", "--to", "x"]]
)
def test_what_works_on_rings_says_so(keys: Profiled, command: list[str]) -> None:
    keys.settings(key_provider="aws-kms:alias/orders?region=eu-central-1")
    error = keys.run(*command, code=1).stderr
    assert "come from aws-kms:alias/orders and are rotated, disabled and destroyed there" in error
    assert error.count("\n") == 1


def test_nothing_of_a_key_is_shown(subjects: Profiled) -> None:
    shown = (
        subjects.run("check").stdout
        + subjects.run("forget", "w1", "--yes").stdout
        + subjects.run("reseal").stdout
    )
    found = FixedKeys(load_key_ring(subjects.ring)).sealing(ANYONE, 1)
    assert found is not None
    assert found.material.reveal().hex() not in shown
