"""Files inside .tar (also .gz, .bz2, .xz) and .zip: read in turn, never unpacked to disk."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kiso.errors import DataError
from kiso.text import tr

__all__ = ["Member", "is_archive", "members"]

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_DAMAGED = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error,
            ValueError, RuntimeError)  # RuntimeError: a zip with a password


class Member(NamedTuple):
    """One file or folder of an archive; `read` must be called before the next one is asked for."""

    name: str
    size: int
    is_folder: bool
    read: Callable[[], bytes]


def is_archive(path: Path) -> bool:
    """Is this a file that is named like an archive?"""
    return path.name.lower().endswith(_ENDINGS) and path.is_file()


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(tr("{path} is damaged or cannot be read: {reason}; fetch it again.",
                        path=path, reason=error))


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    return file.read() if file else b""


def _tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isreg() or info.isdir():  # no links, no devices
                yield Member(info.name, info.size, info.isdir(), partial(_read_tar, archive, info))
        while archive.fileobj and archive.fileobj.read(1 << 20):
            pass  # the checksum of a compressed archive stands at its very end


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield Member(info.filename, info.file_size, info.is_dir(), partial(archive.read, info))


def members(path: Path) -> Iterator[Member]:
    """Regular files and folders of an archive, in its own order.

    Names that would lead out of a folder are passed over: nothing is written to disk, so they could
    do no harm, but they have no place among classes either. Errors: DataError for damaged archives.
    """

    def read(member: Member) -> bytes:
        try:
            return member.read()
        except _DAMAGED as error:
            raise _damaged(path, error) from error

    try:
        for member in _zip(path) if path.suffix.lower() == ".zip" else _tar(path):
            name = PurePosixPath(member.name.replace("\\", "/"))
            if not name.is_absolute() and ".." not in name.parts:
                yield member._replace(name=str(name), read=partial(read, member))
    except _DAMAGED as error:
        raise _damaged(path, error) from error
