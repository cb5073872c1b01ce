"""`load`: any supported data, by name or path -> training, validation and test samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kiso.data import assemble, images, places
from kiso.data.dataset import Splits, Task
from kiso.data.download import Progress
from kiso.data.images import Fit, Size
from kiso.data.pictures import ImageOptions
from kiso.data.sources.parts import Pool, Request
from kiso.data.split import fractions
from kiso.errors import ConfigError
from kiso.text import tr

__all__ = ["load"]


def _size(size: int | Sequence[int] | None) -> Size | None:
    """32 or (32, 48) -> (height, width)."""
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(int(side) for side in size)
    if len(pair) != 2 or min(pair) < 1 or max(pair) > 4096:
        raise ConfigError(tr("the picture size is {size}; expected 1 to 4096 pixels, or height and "
                             "width.", size=size))
    return pair


def _one_of(option: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(tr("{option} is {value!r}; expected one of {choices}.", option=option,
                             value=value, choices=", ".join(choices)))


def _read(form: str, name: str | None, place: Path, request: Request) -> Pool | Splits:
    """Hand the place to the source that reads its form; sources are imported when needed."""
    if form == "digits":
        from kiso.data.sources import digits
        return digits.read()
    if form == "idx":
        from kiso.data.sources import idx
        return idx.read(place, name)
    if form == "cifar":
        from kiso.data.sources import cifar
        return cifar.read(place)
    if form == "npz":
        from kiso.data.sources import npz
        return npz.read(place, request)
    if form == "csv":
        from kiso.data.sources import csvfile
        return csvfile.read(place, request)
    from kiso.data.sources import folder
    return folder.read(place, request)


def load(name_or_path: str | Path = "digits", *, data_dir: str | Path | None = None,
         size: int | Sequence[int] | None = None, grey: bool = False, fit: Fit = "crop",
         target: str | None = None, task: Task | None = None, columns: Sequence[str] | None = None,
         classes: Sequence[str] | None = None, labelled: bool = True,
         split: float | Sequence[float] | None = None, seed: int = 0, on_broken: str = "skip",
         download: bool = False, max_pixels: int = images.MAX_PIXELS,
         progress: Progress | None = None) -> Splits:
    """Read a data set and deal it into training, validation and test samples.

    name_or_path: digits, mnist, fashion_mnist, cifar10; a folder with a folder for each class
        (or with train/, val/, test/), with IDX or CIFAR-10 files; a .csv, .npz, .zip or
        .tar(.gz, .xz, .bz2) file.
    data_dir: where to look first; then KISO_DATA, then the user cache.
    size, fit: height and width of pictures; "crop", "pad" or "stretch" brings them there.
        Without size, pictures that are all of one size up to 64x64 keep it, others become
        32x32.
    grey: one channel instead of three. max_pixels: larger files are refused.
    classes: only the samples of these classes.
    labelled: False where classes are not needed: of a folder's pictures, which may then lie in no
        class folder, or all in one.
    target, task, columns: of CSV tables: what is predicted, how, and from which columns.
    split: (train, validation, test) or the training fraction; (0.7, 0.15, 0.15) by default.
        Given parts (official test sets, train/ and test/ folders) stay; a missing part is dealt
        from the training part: a tenth of it, or in the proportions of `split` if that is given.
    on_broken: "skip" leaves unreadable files and rows out and lists them, "fail" refuses all.
    download: fetch a data set known by name when it is not here.

    Errors: DataError (exit code 2) for missing or unusable data, ConfigError for unusable options.
    """
    _one_of("--fit", fit, images.FITS)
    _one_of("--on-broken", on_broken, ("skip", "fail"))
    if task is not None:
        _one_of("--task", task, ("classification", "regression"))
    if max_pixels < 1:
        raise ConfigError(tr("max_pixels is {value}; expected at least 1.", value=max_pixels))
    fractions(split)
    options = ImageOptions(_size(size), fit, grey, max_pixels)
    request = Request(options, split, seed, on_broken, target, task,
                      None if columns is None else tuple(columns),
                      None if classes is None else tuple(classes), labelled)
    form, name, place = places.locate(name_or_path, data_dir, download, progress)
    if form != "csv" and (target is not None or columns is not None):
        raise ConfigError(tr("--target and --columns are for CSV tables; {name} is none.",
                             name=name_or_path))
    if form == "csv" and classes is not None:
        raise ConfigError(tr("--classes is not for CSV tables; leave the rows of other classes out "
                             "of {name}.", name=name_or_path))
    read = _read(form, name, place, request)
    splits = read if isinstance(read, Splits) else assemble.assemble(read, request)
    named = {"name": name} if name else {}
    return assemble.record(splits, named)
