"""Class folders of pictures: `cat/*.jpg`, `dog/*.jpg`, in a folder or in an archive.

The first level of folders gives the classes; deeper ones are read into the same class. Folders
`train/`, `val/` and `test/` (or `training`, `valid`, `validation`, `testing`) with class
folders inside give the splits too. Hidden files and files that are no pictures are passed over.
Where no classes are needed, one will do, and pictures may lie in no class folder: all are then of
one class, called like the place.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from kiso.data.images import SUFFIXES, UNREADABLE
from kiso.data.pictures import File, Pictures, read_pictures, refuse_broken, stack
from kiso.data.sources.archive import is_archive, members
from kiso.data.sources.parts import Part, Pool, Request, need_two_classes
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["read"]

_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
          "test": "test", "testing": "test"}
_MOST_BYTES = 2**29  # of one picture file in an archive
_JUNK = ("__macosx",)


@dataclass
class _Tree:
    """Pictures below a folder or archive; the lists are complete once `files` has run out."""

    path: Path
    labelled: bool = True  # pictures must lie in class folders
    folders: set[PurePosixPath] = field(default_factory=set[PurePosixPath])
    ignored: list[str] = field(default_factory=list[str])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def files(self) -> Iterator[File]:
        """The picture files, named by their path with `/`."""
        return self._of_archive() if is_archive(self.path) else self._of_folder()

    def _wanted(self, name: PurePosixPath, size: int = 0) -> bool:
        """Is it a picture in a folder? If not, why not goes to the lists."""
        suffix = name.suffix.lower()
        if suffix in UNREADABLE:
            self.problems.append((str(name), tr(
                "{suffix} files cannot be read; save it as JPEG or PNG", suffix=suffix)))
        elif suffix not in SUFFIXES or len(name.parts) < 1 + self.labelled:
            self.ignored.append(str(name))
        elif size > _MOST_BYTES:
            self.problems.append((str(name), tr(
                "{size} bytes are too large for a picture", size=size)))
        else:
            return True
        return False

    def _of_folder(self) -> Iterator[File]:
        seen: set[Path] = set()  # links are followed, each place is visited once
        for place, folders, names in os.walk(self.path, followlinks=True):
            home = Path(place).resolve()
            if home in seen:
                folders.clear()
                continue
            seen.add(home)
            folders[:] = sorted(f for f in folders if not _hidden(f))
            here = PurePosixPath(Path(place).relative_to(self.path).as_posix())
            self.folders.add(here)
            for name in sorted(names):
                if not _hidden(name) and self._wanted(here / name):
                    yield File(str(here / name), Path(place) / name)

    def _of_archive(self) -> Iterator[File]:
        for member in members(self.path):
            name = PurePosixPath(member.name)
            if any(_hidden(part) for part in name.parts):
                continue
            if member.is_folder:
                self.folders.add(name)
            elif self._wanted(name, member.size):
                yield File(str(name), member.read())


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in (*_JUNK, "thumbs.db", "desktop.ini")


def _top(tree: _Tree, names: list[str]) -> PurePosixPath:
    """The folder of the class folders: archives often wrap everything in one folder more."""
    parts = [PurePosixPath(name).parts for name in names]
    first = {part[0] for part in parts}
    if is_archive(tree.path) and len(first) == 1 and not first <= set(_PARTS) \
            and all(len(part) >= 3 for part in parts):
        return PurePosixPath(*first)
    return PurePosixPath(".")


def _class_folders(tree: _Tree, top: PurePosixPath) -> dict[PurePosixPath, tuple[str, str]]:
    """Class folders -> (part, class); the part is "all" unless the folders are train, val, test."""
    inside = [folder.relative_to(top) for folder in tree.folders if folder.is_relative_to(top)]
    if _in_parts(inside):
        return {folder: (_PARTS[folder.parts[0].lower()], folder.parts[1])
                for folder in inside if len(folder.parts) == 2}
    return {folder: ("all", folder.parts[0]) for folder in inside if len(folder.parts) == 1}


def _in_parts(folders: list[PurePosixPath]) -> bool:
    """Are the first folders train, val, test?"""
    first = {folder.parts[0].lower() for folder in folders if folder.parts}
    return first <= set(_PARTS) and "train" in {_PARTS[name] for name in first}


def _of_one_class(tree: _Tree, names: list[str]) -> list[tuple[str, str]]:
    """(part, class) of every picture where there are no classes."""
    inside = [PurePosixPath(name).relative_to(_top(tree, names)) for name in names]
    parts = _in_parts([name.parent for name in inside]) and all(len(n.parts) > 1 for n in inside)
    home = tree.path.resolve().name  # of "." too
    return [(_PARTS[name.parts[0].lower()] if parts else "all", home) for name in inside]


def _labels(tree: _Tree, read: Pictures) -> list[tuple[str, str]]:
    """(part, class) of every picture; DataError for class folders without any."""
    for name in read.names + [name for name, _ in read.problems]:
        tree.folders.update(PurePosixPath(name).parents)  # archives need not list folders
    top = _top(tree, read.names)
    classes = _class_folders(tree, top)
    found: list[tuple[str, str]] = []
    used: set[PurePosixPath] = set()
    for name in read.names:
        inside = PurePosixPath(name).relative_to(top)
        home = next((p for p in inside.parents if p in classes), None)
        if home is None and not tree.labelled:
            return _of_one_class(tree, read.names)
        if home is None:
            raise DataError(tr("{path}: {name} lies beside the class folders; expected "
                               "train/CLASS/FILE (or CLASS/FILE without train/, val/, test/).",
                               path=tree.path, name=name))
        used.add(home)
        found.append(classes[home])
    empty = sorted(str(folder) for folder in classes if folder not in used)
    if empty:
        broken = "".join(f"\n  {name}: {reason}" for name, reason in read.problems)
        raise DataError(tr("{path}: no usable picture in the class folders {empty}; add pictures "
                           "or remove them.{broken}", path=tree.path, empty=", ".join(empty),
                           broken=broken))
    return found


def _explain_nothing(tree: _Tree, read: Pictures) -> DataError:
    """Why a folder gave no picture at all."""
    if read.problems:
        return DataError(tr("{path}: none of the {count} picture files can be used:\n{list}",
                            path=tree.path, count=len(read.problems), list="\n".join(
                                f"  {name}: {reason}" for name, reason in read.problems)))
    tables = [name for name in tree.ignored
              if PurePosixPath(name).suffix.lower() in (".csv", ".tsv", ".npz")]
    if tables:
        return DataError(tr("{path} is a folder with tables; name one of them: {names}.",
                            path=tree.path, names=", ".join(tables[:10])))
    return DataError(tr("{path} holds no pictures in class folders; expected a folder for each "
                        "class, such as cat/1.jpg and dog/1.jpg.", path=tree.path))


def read(path: Path, request: Request) -> Pool:
    """Read class folders from a folder or an archive."""
    tree = _Tree(path, request.labelled)
    read = read_pictures(tree.files(), request.image)
    read.problems = sorted(read.problems + tree.problems)
    if not read.names:
        raise _explain_nothing(tree, read)
    refuse_broken(read.problems, request.on_broken)
    labels = _labels(tree, read)
    classes = tuple(sorted({name for _, name in labels}))
    if request.labelled:
        need_two_classes(classes, path)
    x = stack(read.pixels, request.image)
    read.pixels.clear()  # all pictures twice are enough
    y = np.array([classes.index(name) for _, name in labels], np.int64)
    parts: dict[str, Part] = {}
    for part in dict.fromkeys(part for part, _ in labels):
        chosen = [i for i, (its, _) in enumerate(labels) if its == part]
        chosen.sort(key=lambda i: read.names[i])
        parts[part] = Part(x[chosen], y[chosen], [read.names[i] for i in chosen])
    untrained = sorted(set(classes) - {name for part, name in labels if part in ("all", "train")})
    if untrained:
        raise DataError(tr("{path}: the classes {names} have no training pictures.", path=path,
                           names=", ".join(untrained)))
    kinds = Counter(PurePosixPath(name).suffix.lower() or "-" for name in tree.ignored)
    notes = read.notes
    if kinds:
        notes.append(("", tr("{count} other files passed over ({kinds})", count=len(tree.ignored),
                             kinds=", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())))))
    return Pool(parts, classes=classes, problems=read.problems, notes=notes,
                source={"name": path.name, "format": "archive" if is_archive(path) else "folder",
                        "path": str(path), "other_files": len(tree.ignored)})
