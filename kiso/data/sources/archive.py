"""Files inside .tar, .tar.gz, .tar.bz2, .tar.xz: read in turn, never unpacked to disk."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kiso.errors import DataError
from kiso.text import tr

__all__ = ["Member", "is_archive", "members"]

_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGED = (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, ValueError)


@dataclass(frozen=True)
class Member:
    """One file of an archive; `read` must be called before the next one is asked for."""

    name: str
    size: int
    is_folder: bool
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    def read(self) -> bytes:
        """The whole content."""
        try:
            file = self.archive.extractfile(self.info)
            return file.read() if file else b""
        except _DAMAGED as error:
            raise _damaged(self.archive.name, error) from error


def _damaged(path: object, error: Exception) -> DataError:
    return DataError(tr("{path} is damaged or cannot be read: {reason}; fetch it again.",
                        path=path, reason=error))


def is_archive(path: Path) -> bool:
    """Is this a file that is named like an archive?"""
    return path.name.lower().endswith(_ENDINGS) and path.is_file()


def members(path: Path) -> Iterator[Member]:
    """Regular files and folders of an archive, in its own order.

    Links and devices are passed over, and so are names that would lead out of a folder: nothing is
    written to disk, so they could do no harm, but they have no place among classes either.
    """
    try:
        with tarfile.open(path) as archive:
            for info in archive:
                name = PurePosixPath(info.name.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or not (info.isreg() or info.isdir()):
                    continue
                yield Member(str(name), info.size, info.isdir(), archive, info)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
