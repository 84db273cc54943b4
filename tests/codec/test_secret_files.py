"""Secret files in a directory where others can put things, too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from codec.secret_files import SecretFileError, read_secret_file, sole_writer, write_secret_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ring.json"
    write_secret_file(path, b"old")
    return path


def leftover(path: Path, name: str = "0123456789ab") -> Path:
    return path.with_name(f".{path.name}.{name}.tmp")


def test_what_a_crash_left_is_overwritten_and_removed(path: Path) -> None:
    leftover(path).write_bytes(b"secret")
    with leftover(path).open("rb") as before:
        write_secret_file(path, b"new", erase_old=True)
        assert before.read() == bytes(6)
    assert not leftover(path).exists()


def test_what_others_put_in_its_place_is_left_alone(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    leftover(path, "link").symlink_to(victim)
    leftover(path, "nowhere").symlink_to(tmp_path / "nowhere")
    os.mkfifo(leftover(path, "pipe"))
    leftover(path, "directory").mkdir()
    # Somebody who waits for us to write into a pipe.
    reader = os.open(leftover(path, "pipe"), os.O_RDONLY | os.O_NONBLOCK)
    try:
        for _ in range(2):
            write_secret_file(path, b"new", erase_old=True)
            os.close(reader)
            reader = os.open(os.devnull, os.O_RDONLY)
    finally:
        os.close(reader)
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert path.read_bytes() == b"new"
    assert {one.name.split(".")[3] for one in tmp_path.glob(".ring.json.*.tmp")} == {
        "link",
        "nowhere",
        "pipe",
        "directory",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give files away")
def test_another_user_s_file_is_left_alone(path: Path) -> None:
    leftover(path).write_bytes(b"theirs")
    os.chown(leftover(path), 12345, 12345)
    write_secret_file(path, b"new", erase_old=True)
    assert leftover(path).read_bytes() == b"theirs"


def test_a_lock_is_made_through_no_link(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    path.with_name(f".{path.name}.lock").symlink_to(elsewhere)
    with pytest.raises(SecretFileError, match=r"\.ring\.json\.lock cannot be made"), sole_writer(path):
        pass
    assert not elsewhere.exists()


def test_what_need_not_be_secret_must_not_be_writable(path: Path) -> None:
    path.chmod(0o644)
    assert read_secret_file(path, what="file", mounted=True) == b"old"
    for mode in (0o664, 0o646):
        path.chmod(mode)
        with pytest.raises(SecretFileError, match=r"can be changed by other users.*chmod go-w"):
            read_secret_file(path, what="file", mounted=True)
