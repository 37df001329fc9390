"""A folder on this machine, or one that several machines have mounted, as a place to store things.

Everything is written beside its target under a hidden name and moved into place when it is whole, so a
process that is killed leaves nothing that looks like content. Two writers are kept apart by a lock of the
kernel on one hidden file per folder, which the kernel gives back however its holder ends. Where such locks hold on
one machine only, `storage_mounts` knows.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from stat import S_ISREG
from typing import IO, TYPE_CHECKING

from ..errors import StoreError
from ..runtime import clock
from ..runtime.hashing import sha256_of
from ..runtime.transfers import BLOCK_BYTES
from .attributes import NONE, Attributes
from .body import Body
from .mounts import find_flaw
from .part_files import PART, Sweeper

if TYPE_CHECKING:
    from .base import Copied

LOCK = ".prefect-media-lock"
LOCK_SECONDS = 30.0

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


class Folder:
    """The verbs of a store, on a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proved = False
        self._sweeper = Sweeper(root)

    async def refuse_local_locks(self) -> None:
        """Raise when other machines that have the folder mounted may not see our locks."""
        if flaw := await asyncio.to_thread(find_flaw, self.root):
            raise StoreError(
                f"the store {self.root} can't keep two buyers apart: {flaw}; the same thing could be bought twice; "
                "use a local folder, NFS 4 or a bucket; PREFECT_MEDIA_TRUST_STORE=1 uses it anyway, "
                "which is safe only if a single machine has it mounted",
                transient=False,
            )

    def write(self, key: str, body: Body, content_type: str, *, replace: bool, attributes: Attributes = NONE) -> bool:
        path = self._path(key)
        with _explain_errors(path):
            part, file = self._open_part(path)
        try:
            try:
                for block in body:
                    with _explain_errors(path):
                        file.write(block)
                with _explain_errors(path):
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                with _explain_errors(path):  # what a full disk didn't take is tried once more, and refused once more
                    file.close()
            with _explain_errors(path):
                if not replace:
                    return self._link(part, path)
                part.replace(path)
                _sync_folder(path.parent)
                return True
        finally:
            part.unlink(missing_ok=True)

    async def put(self, key: str, data: bytes, content_type: str, attributes: Attributes = NONE) -> None:
        await asyncio.to_thread(self._put, self._path(key), data)

    def _put(self, path: Path, data: bytes) -> None:
        with _explain_errors(path), self._part(path, data) as part:
            part.replace(path)
            _sync_folder(path.parent)

    async def read(self, key: str) -> bytes:
        path = self._path(key)
        with _explain_errors(path):
            return await asyncio.to_thread(path.read_bytes)

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        blocks = self.blocks(key)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield block

    def blocks(self, key: str) -> Iterator[bytes]:
        path = self._path(key)
        with _explain_errors(path):
            file = path.open("rb")
        with file:
            while True:
                with _explain_errors(path):
                    block = file.read(BLOCK_BYTES)
                if not block:
                    return
                yield block

    async def open(self, key: str) -> IO[bytes]:
        path = self._path(key)
        with _explain_errors(path):
            return await asyncio.to_thread(path.open, "rb")

    async def size(self, key: str) -> int | None:
        return await asyncio.to_thread(_size, self._path(key))

    async def fetch_metadata(self, key: str) -> dict[str, str]:
        return {}  # files keep no notes

    def copies_to(self, other: object, attributes: Attributes) -> bool:
        return False  # streamed instead: the hash comes for free

    async def copy(
        self, key: str, target: object, target_key: str, content_type: str, attributes: Attributes
    ) -> "Copied":
        raise NotImplementedError  # `copies_to` says so

    async def sign(self, key: str, expires_in: timedelta) -> str | None:
        return None

    async def delete(self, key: str) -> None:
        path = self._path(key)
        with _explain_errors(path), suppress(FileNotFoundError):
            await asyncio.to_thread(path.unlink)

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, int, float]]:
        folder = prefix.rpartition("/")[0]
        for row in await asyncio.to_thread(_walk, self.root, self._path(folder) if folder else self.root):
            yield row

    async def create(self, key: str, data: bytes) -> str | None:
        return await asyncio.to_thread(self._create, self._path(key), data)

    def _create(self, path: Path, data: bytes) -> str | None:
        with _explain_errors(path), self._part(path, data) as part:
            return sha256_of(data) if self._link(part, path) else None

    def _link(self, part: Path, path: Path) -> bool:
        """Move `part` to `path` unless something is there."""
        with _lock(path.parent):
            try:
                os.link(part, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links; the lock alone keeps others out
                if path.exists():
                    return False
                part.replace(path)
            _sync_folder(path.parent)
        return True

    async def replace(self, key: str, data: bytes, version: str) -> str | None:
        return await asyncio.to_thread(self._replace, self._path(key), data, version)

    def _replace(self, path: Path, data: bytes, version: str) -> str | None:
        with _explain_errors(path), self._part(path, data) as part, _lock(path.parent):
            try:
                if sha256_of(path.read_bytes()) != version:
                    return None
            except FileNotFoundError:
                return None
            part.replace(path)
            _sync_folder(path.parent)
        return sha256_of(data)

    async def fetch(self, key: str) -> tuple[bytes, str] | None:
        path = self._path(key)
        with _explain_errors(path):
            try:
                data = await asyncio.to_thread(path.read_bytes)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return data, sha256_of(data)

    def _path(self, key: str) -> Path:
        return self.root.joinpath(*key.split("/"))

    @contextmanager
    def _part(self, path: Path, data: bytes) -> Generator[Path]:
        """`data` on disk under a hidden name beside `path`, gone afterwards unless it was moved."""
        part, file = self._open_part(path)
        try:
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _open_part(self, path: Path) -> tuple[Path, IO[bytes]]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # where nobody can make folders, such as /proc
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
        part = path.parent / f"{PART}{clock.new_id()}"
        file = part.open("xb")
        self._sweeper.sweep(os.fstat(file.fileno()).st_mtime)
        return part, file


def _size(path: Path) -> int | None:
    facts = _facts(path)
    return facts and facts[0]


def _facts(path: Path) -> tuple[int, float] | None:
    """Size and time of the last change of a file."""
    with _explain_errors(path):
        try:
            facts = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (facts.st_size, facts.st_mtime) if S_ISREG(facts.st_mode) else None


def _walk(root: Path, folder: Path) -> list[tuple[str, int, float]]:
    rows = list[tuple[str, int, float]]()
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and (facts := _facts(path)) is not None:
                rows.append((path.relative_to(root).as_posix(), *facts))
    return rows


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut, where the system knows how."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _lock(folder: Path) -> Generator[None]:
    deadline, pause = clock.monotonic() + LOCK_SECONDS, 0.001
    with (folder / LOCK).open("ab") as file:
        while not _try_lock(file):
            if clock.monotonic() > deadline:
                raise StoreError(
                    f"the folder {folder} stayed locked by another process for {LOCK_SECONDS:.0f} seconds; "
                    "stop the process that hangs, or try again"
                )
            clock.block(pause)
            pause = min(pause * 1.5, 0.02)
        yield  # closing the file gives the lock back


if os.name == "nt":

    def _try_lock(file: IO[bytes]) -> bool:
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True

else:

    def _try_lock(file: IO[bytes]) -> bool:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def _explain_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def explain(error: OSError, path: Path) -> StoreError:
    """What a user should know and do about `error`."""
    if isinstance(error, FileNotFoundError):
        message = f"there is nothing at {path.as_uri()}; it was deleted or never stored"
        return StoreError(message, transient=False, missing=True)
    path = path.parent if path.name.startswith(".") else path
    if error.errno in _NO_ROOM:
        message = f"there is no room left to write {path}; free some space or use another folder"
    elif error.errno in _NOT_A_FOLDER:
        message = f"the store can't use {path}, because a file stands where a folder is needed or the other way round;"
        message += " remove it or use another folder"
    elif error.errno == errno.EROFS:
        message = f"the file system of {path} is read-only; use a folder that can be written"
    elif error.errno in (errno.EACCES, errno.EPERM):
        message = f"this user may not use {path}; give it the right to, or use another folder"
    elif error.errno == errno.ENAMETOOLONG:
        message = f"the name {path} is too long for this file system; use a shorter folder"
    elif error.errno in _NO_LOCKS:
        message = f"the file system of {path} can't lock files; use a local folder or a bucket"
    else:
        return StoreError(f"the folder of {path} can't be used right now ({error.strerror}); try again")
    return StoreError(message, transient=False)
