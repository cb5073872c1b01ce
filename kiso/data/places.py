"""Where data sets are looked for, and what a folder or file is recognised as."""

from __future__ import annotations

import difflib
from pathlib import Path

from kiso import config
from kiso.data.download import Progress, download
from kiso.data.images import SUFFIXES
from kiso.data.sources import cifar, idx
from kiso.data.sources.archive import is_archive, members
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["NAMES", "form_of", "locate"]

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10")

TABLES = (".csv", ".tsv")


def canonical(name: str) -> str:
    """fashion-mnist, Fashion_MNIST, CIFAR-10 ... -> the name in NAMES, or the text itself."""
    plain = name.lower().replace("-", "").replace("_", "")
    return {known.replace("_", ""): known for known in NAMES}.get(plain, name)


def _archive_form(path: Path) -> str:
    """The first member with a telling name decides."""
    for member in members(path):
        name = member.name.rsplit("/", 1)[-1]
        if not member.is_folder and cifar.is_batch(name):
            return "cifar"
        if not member.is_folder and Path(name).suffix.lower() in SUFFIXES:
            return "folder"
    raise DataError(tr("{path} holds neither class folders of pictures nor CIFAR-10 batches.",
                       path=path))


def form_of(path: Path) -> tuple[str, Path]:
    """The form of a path ("csv", "npz", "idx", "cifar", "folder") and the exact place to read."""
    if path.is_file():
        if path.suffix.lower() in TABLES:
            return "csv", path
        if path.suffix.lower() == ".npz":
            return "npz", path
        if is_archive(path):
            return _archive_form(path), path
        raise DataError(tr("{path} is of no kind that can be read; expected a folder, .csv, .npz, "
                           ".zip or .tar.", path=path))
    if idx.find(path):
        return "idx", path
    batches = cifar.find(path)
    if batches:
        return "cifar", batches
    inside = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
    archives = [p for p in inside if is_archive(p)]
    if len(archives) == 1 and not any(p.is_dir() for p in inside):
        return _archive_form(archives[0]), archives[0]
    return "folder", path


def _holds(name: str, folder: Path) -> tuple[str, Path] | None:
    """The data set `name` in this very folder, or None."""
    if not folder.is_dir():
        return None
    if name in ("mnist", "fashion_mnist"):
        return ("idx", folder) if idx.find(folder) else None
    batches = cifar.find(folder)
    if batches:
        return "cifar", batches
    archives = [p for p in sorted(folder.glob("*cifar*")) if is_archive(p)]
    if archives:
        return _archive_form(archives[0]), archives[0]
    for place in (folder, *sorted(folder.glob("cifar*"))):
        if all((place / "train" / label).is_dir() for label in cifar.CLASSES):
            return "folder", place
    return None


def _places(data_dir: str | Path | None) -> list[Path]:
    """--data-dir, KISO_DATA, the user cache."""
    given = [Path(data_dir).expanduser()] if data_dir is not None else []
    named = config.data_dir()
    return [*given, *([named] if named else []), config.cache_dir() / "data"]


def _known(name: str, data_dir: str | Path | None, fetch: bool,
           progress: Progress | None) -> tuple[str, Path]:
    """Look up a data set by name, and download it if asked to."""
    if name == "digits":
        return "digits", Path()
    places = _places(data_dir)
    tried = list(dict.fromkeys(
        folder for place in places
        for folder in (place / name, place / name.replace("_", "-"), place)))
    home = places[-1] / name
    for folder in tried:
        found = _holds(name, folder)
        if found and not (fetch and folder == home):  # there, an earlier download may have stopped
            return found
    if fetch:
        found = _holds(name, download(name, home, progress))
        if found:
            return found
    size = {"mnist": 11, "fashion_mnist": 30, "cifar10": 163}[name]
    raise DataError(tr(
        "{name} was not found. Looked in:\n{list}\nFetch it ({size} MB) with --download, or say "
        "where it is with --data-dir.", name=name, size=size,
        list="\n".join(f"  {path}" for path in tried)))


def _find(name_or_path: str | Path, data_dir: str | Path | None, fetch: bool,
          progress: Progress | None) -> tuple[str, str | None, Path]:
    """See `locate`."""
    text = str(name_or_path)
    name = canonical(text)
    if name in NAMES:
        form, place = _known(name, data_dir, fetch, progress)
        return form, name, place
    candidates = list(dict.fromkeys([  # an absolute path is the same everywhere
        Path(text).expanduser(), *(place / text for place in _places(data_dir))]))
    for path in candidates:
        if path.exists():
            form, place = form_of(path)
            return form, None, place
    near = difflib.get_close_matches(name.lower(), NAMES, 2, 0.5)
    hint = tr(" Did you mean {names}?", names=", ".join(near)) if near else ""
    raise DataError(tr(
        "there is no data set or file {name}.{hint} Known data sets: {known}. Otherwise give a "
        "folder with a folder for each class, a .csv, .npz, .zip or .tar file. Looked in:\n{list}",
        name=text, hint=hint, known=", ".join(NAMES),
        list="\n".join(f"  {path}" for path in candidates)))


def locate(name_or_path: str | Path, data_dir: str | Path | None = None, fetch: bool = False,
           progress: Progress | None = None) -> tuple[str, str | None, Path]:
    """(form, name or None, place) of what a user named.

    Known names come first; then paths, as they are and below --data-dir and KISO_DATA.
    Errors: DataError for what is not there, with the places looked at and near names.
    """
    try:
        return _find(name_or_path, data_dir, fetch, progress)
    except OSError as error:  # a folder that may not be listed, a name that is too long
        raise DataError(tr("cannot read {path}: {reason}.", path=error.filename or name_or_path,
                           reason=error.strerror or str(error))) from error
