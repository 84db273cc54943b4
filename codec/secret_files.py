"""Files that hold secrets: written whole or not at all, for their owner's eyes only, one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

SECRET_FILE_MODE = 0o600
SIZE_MAX_BYTES = 1024 * 1024
"""No key ring or profile comes near this; a larger file is the wrong file."""

# O_NONBLOCK: opening a named pipe must not wait for a reader.
_OVERWRITING = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NOT_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EISDIR, errno.ENOENT})
"""What opening says of a link, of a pipe or socket, of another user's file, of a directory, of what is gone."""


class SecretFileError(Exception):
    """A secret file is missing, unsafe or unreadable; the sentence names it and the way out."""


def read_secret_file(path: Path, *, what: str, mounted: bool = False) -> bytes:
    """The content of a file that only its owner may read.

    The checks are made on the open file, so that it cannot be exchanged between the check and the read. `mounted` is for
    files that a container's platform puts there, and for those that hold no secret but whose word counts: they may be
    readable by others, but not writable.

    Raises:
        SecretFileError: it does not exist, is no regular file, belongs to another user than us or root, is
            readable by group or others (writable, if `mounted`), or is larger than `SIZE_MAX_BYTES`.
    """
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SecretFileError(f"There is no {what} at {path}.") from None
    except OSError as error:
        raise SecretFileError(f"The {what} {path} cannot be opened: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretFileError(f"The {what} {path} is not a regular file.")
        if status.st_uid not in (os.geteuid(), 0):
            raise SecretFileError(
                f"The {what} {path} belongs to user id {status.st_uid}, who could change it. "
                f"Make it yours: chown {os.geteuid()} {path}"
            )
        if mounted and status.st_mode & 0o022:
            raise SecretFileError(
                f"The {what} {path} can be changed by other users (mode {stat.S_IMODE(status.st_mode):04o}). "
                f"Take that from them (chmod go-w {path}, or mount it so), and look what it says."
            )
        if not mounted and status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise SecretFileError(
                f"The {what} {path} is open to other users (mode {mode:04o}). "
                f"Close it (chmod 600 {path}) and consider its content known to them."
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(SIZE_MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > SIZE_MAX_BYTES:
        raise SecretFileError(f"The {what} {path} is larger than {SIZE_MAX_BYTES} bytes: it is no {what}.")
    return content


def write_secret_file(path: Path, content: bytes, *, replace: bool = True, erase_old: bool = False) -> None:
    """Put `content` at `path`, readable by the owner only, whole or not at all, even if power fails.

    A symbolic link at `path` is followed, so that the file it points to is replaced and not the link.

    With `erase_old` the bytes of the file that was there, and of what a crash left of earlier writes, are overwritten
    once the new file is safe on the disk. Give it only within `sole_writer`. It does what a program can: a file system
    that copies on write, a flash drive or a backup may keep older bytes.

    Raises:
        SecretFileError: `replace` is false and the file exists, or the file cannot be written.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    old: int | None = None
    try:
        if erase_old and path.exists():
            old = os.open(path, _OVERWRITING)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, SECRET_FILE_MODE), "wb") as file:
            # The mode given to open is narrowed by the umask, which might take even the owner's rights.
            os.fchmod(file.fileno(), SECRET_FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            # A hard link, unlike a rename, never replaces.
            path.hardlink_to(temporary)
        _sync_directory(path.parent)
        if old is not None:
            _erase(old, names_left=0)
            _erase_leftovers(path)
    except FileExistsError:
        raise SecretFileError(f"{path} exists already and is not overwritten.") from None
    except OSError as error:
        raise SecretFileError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        if old is not None:
            os.close(old)
        temporary.unlink(missing_ok=True)


def _erase_leftovers(path: Path) -> None:
    """Overwrite and remove what a crash left of writes to `path`.

    What is called so and we did not make (a link, a pipe, another user's file) is left alone: through it somebody could have
    us overwrite what is not theirs to.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        try:
            descriptor = os.open(leftover, _OVERWRITING)
        except OSError as error:
            if error.errno in _NOT_OURS:
                continue
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                continue
            _erase(descriptor, names_left=1)
        finally:
            os.close(descriptor)
        leftover.unlink(missing_ok=True)


def _erase(descriptor: int, *, names_left: int) -> None:
    """Overwrite a file's bytes, unless it has more names than expected: under them it may be somebody's backup."""
    status = os.fstat(descriptor)
    if status.st_nlink <= names_left:
        os.pwrite(descriptor, bytes(status.st_size), 0)
        os.fsync(descriptor)


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keep other processes (and threads) that use this out, while a file is read, changed and written.

    The lock is on a file beside `path`, as `path` itself is replaced by each write. It is left behind:
    removing it would let two writers hold two different locks.

    Raises:
        SecretFileError: the lock file cannot be made.
    """
    path = path.resolve()
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # No link is followed: it would have us make a file, or lock one, wherever it leads.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(lock, flags, SECRET_FILE_MODE)
    except OSError as error:
        raise SecretFileError(f"{lock} cannot be made: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
