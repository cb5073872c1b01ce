"""`kiso summary` and `kiso info`: looking at a model, and at the machine."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, cast

from kiso import config
from kiso.cli.machine import blas, memory_bytes, package_versions, processor
from kiso.cli.output import Output, in_thousands
from kiso.errors import DataError
from kiso.text import tr

if TYPE_CHECKING:
    from kiso import nn

__all__ = ["info", "summary"]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def in_bytes(count: float) -> str:
    """2048 -> 2.0 KiB."""
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {UNITS[unit]}" if unit else f"{count:.0f} {UNITS[0]}"


def dimensions(shape: Any) -> str:
    """(1, 28, 28) -> 1x28x28; several outputs with + between them; - for a layer never reached."""
    if shape is None:
        return "-"
    if isinstance(shape, list):
        return " + ".join(dimensions(one) for one in cast("list[Any]", shape))
    return "x".join(map(str, shape)) or "1"


def of_one_sample(shape: Any) -> Any:
    """A shape without its batch axis."""
    if isinstance(shape, list):
        return [one[1:] for one in cast("list[Any]", shape)]
    return shape[1:] if shape else None


def model_of(text: str, shape: tuple[int, ...] | None, outputs: int | None
             ) -> tuple[nn.Module, tuple[int, ...]]:
    """A model by name, or from a description that may end in any shape, and the shape of a sample.
    What is not given is what the net was made for; descriptions end in 10 outputs."""
    from kiso import models

    entry = models.find(text)
    if entry is None:
        net = models.build(text, shape, outputs or 10)
        return net, cast("tuple[int, ...]", shape)  # without a shape build refuses
    shape = shape or entry.shape
    return models.build(text, shape, outputs), shape


def summary(output: Output, model: str, input: tuple[int, ...] | None = None,
            outputs: int | None = None) -> int:
    """Layers of a model: shapes of one sample, parameters, multiply-adds, memory."""
    net, input = model_of(model, input, outputs)
    found = net.summary(input)
    rows = [[row.name, row.layer, dimensions(of_one_sample(row.output_shape)),
             in_thousands(row.parameters), in_thousands(row.multiply_adds),
             in_bytes(row.activation_bytes)] for row in found.rows]
    output.table(
        ["", tr("Layer"), tr("Output shape"), tr("Parameters"), tr("Multiply-adds"),
         tr("Activations")], rows, numbers=(3, 4, 5),
        footer=["", tr("sum"), "", in_thousands(found.parameters),
                in_thousands(found.multiply_adds), in_bytes(found.activation_bytes)])
    output.show(tr("Shapes, multiply-adds and memory are for one sample of {shape}.",
                   shape=dimensions(input)))
    output.document({**found.to_dict(), "model": model, "input": input})
    return 0


def data_sets(data_dir: str | None) -> dict[str, str | None]:
    """Place of each known data set, None where it is not found."""
    from kiso.data.places import NAMES, locate

    found: dict[str, str | None] = {}
    for name in NAMES:
        try:
            place = locate(name, data_dir)[2]
            found[name] = tr("comes with scikit-learn") if name == "digits" else str(place)
        except DataError:
            found[name] = None
    return found


def info(output: Output, data_dir: str | None = None) -> int:
    """Everything that a report of a problem should say."""
    import kiso

    versions = package_versions()
    memory = memory_bytes()
    cores, threads = config.available_cores(), config.num_threads()
    folder, cache = config.data_dir(), config.cache_dir()
    sets = data_sets(data_dir)
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    linear_algebra = blas()
    output.fields([
        ("Kiso", kiso.__version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        (tr("packages"), ", ".join(f"{name} {value}" for name, value in versions.items())),
        (tr("system"), system),
        (tr("processor"), processor()),
        (tr("cores"), tr("{cores} available, {threads} threads are used", cores=cores,
                         threads=threads)),
        ("BLAS", linear_algebra),
        (tr("memory"), in_bytes(memory) if memory else "-"),
        ("KISO_DATA", str(folder) if folder else tr("not set")),
        (tr("cache"), str(cache)),
    ])
    output.show()
    output.fields([(name, place or tr("not found; --download fetches it"))
                   for name, place in sets.items()], title=tr("Data sets"))
    output.document({
        "kiso": kiso.__version__, "python": platform.python_version(), "packages": versions,
        "system": system, "processor": processor(), "cores": cores, "threads": threads,
        "blas": linear_algebra, "memory_bytes": memory, "kiso_data": folder, "cache": cache,
        "data_sets": sets,
    })
    return 0
