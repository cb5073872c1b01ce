"""Reading pickles without running anything that they may ask for: CIFAR-10's batches, and what
`kiso.interop` reads with other tables of names.

A pickle is a program: it may name any function and call it. Here only the few names that an
array of numbers needs are known, and they stand for small records of this file, not for NumPy's
own constructors; the array is then made from the recorded bytes, whose type and length are
checked.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from kiso.errors import DataError
from kiso.text import tr

__all__ = ["ARRAY_NAMES", "ArrayRecord", "Named", "RefusedPickle", "load", "read_batch",
           "to_array"]

RefusedPickle = pickle.UnpicklingError


class Named:
    """A function that a pickle may call, but not change: the opcode that sets attributes would
    otherwise reach those of our own functions."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickle("BUILD")


class _Type:
    """Stands for numpy.dtype: remembers its code ("u1") and its byte order."""

    order = ""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: Any) -> None:
        """Version, byte order, and what only structures have."""
        order = state[1]
        self.order = order.decode("latin-1") if isinstance(order, bytes) else str(order)


class ArrayRecord:
    """Stands for numpy.ndarray: remembers shape, type and content."""

    shape: tuple[int, ...] = ()
    code: str = ""
    order: str = ""
    content: bytes = b""
    fortran: bool = False

    def __setstate__(self, state: Any) -> None:
        """State of ndarray.__reduce__: version, shape, dtype, is Fortran order, bytes."""
        _, shape, kind, fortran, content = state
        self.shape, self.code, self.order = tuple(shape), kind.code, kind.order
        self.fortran, self.content = bool(fortran), content


def _reconstruct(*_: Any) -> ArrayRecord:
    return ArrayRecord()


def _from_buffer(content: Any, kind: _Type, shape: Any, order: Any) -> ArrayRecord:
    """What newer NumPy writes with protocol 5."""
    array = ArrayRecord()
    array.__setstate__((1, shape, kind, order in ("F", b"F"), bytes(content)))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedPickle(f"encoding {encoding!r}")
    return text.encode("latin-1")


ARRAY_NAMES: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): Named(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): Named(_reconstruct),
    ("numpy.core.numeric", "_frombuffer"): Named(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): Named(_from_buffer),
    ("numpy", "ndarray"): ArrayRecord,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): Named(_encode),
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes], names: Mapping[tuple[str, str], Any], encoding: str,
                 storage: Callable[[Any], Any] | None):
        super().__init__(stream, encoding=encoding)
        self.names = names
        self.storage = storage

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Only names of the table; anything else ends the reading."""
        try:
            return self.names[module_name, global_name]
        except KeyError:
            raise RefusedPickle(f"{module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> Any:
        """What stands outside the pickle; nothing does as a rule."""
        if self.storage is None:
            raise RefusedPickle("persistent id")
        return self.storage(pid)


def load(stream: IO[bytes], names: Mapping[tuple[str, str], Any], encoding: str = "bytes",
         storage: Callable[[Any], Any] | None = None) -> Any:
    """The next object of a pickle, made of plain Python values and what `names` holds.

    names: (module, name) -> what stands for it, nothing else is known. storage: what a persistent
    id stands for. Errors: RefusedPickle for another name; whatever broken opcodes stumble over.
    """
    return _Unpickler(stream, names, encoding, storage).load()


def _plain(value: Any) -> Any:
    """Python 2 text (bytes here) -> str, records -> arrays, inside lists too."""
    if isinstance(value, ArrayRecord):
        return to_array(value, "u1")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value


def to_array(record: ArrayRecord, kinds: str) -> npt.NDArray[Any]:
    """The array of a record, if its type is one of `kinds` (as "u1 f4").

    Errors: RefusedPickle for another type, or a shape that does not fit the content.
    """
    content: Any = record.content
    if isinstance(content, str):
        content = content.encode("latin-1")
    shape = tuple(int(length) for length in record.shape)
    known = {name: np.dtype(code) for code in kinds.split()
             for name in (code, np.dtype(code).str, np.dtype(code).name, np.dtype(code).char)}
    kind = known.get(record.code)
    if kind is not None and record.order in ("<", ">"):
        kind = kind.newbyteorder(cast("Any", record.order))
    if kind is None or min(shape, default=0) < 0 or not isinstance(content, bytes) \
            or len(content) != math.prod(shape) * kind.itemsize:
        raise RefusedPickle(f"array {record.code!r} {shape}")
    return np.frombuffer(content, kind).reshape(shape, order="F" if record.fortran else "C")


def read_batch(content: bytes, name: str) -> dict[str, Any]:
    """The dictionary of a CIFAR batch: str keys; lists, numbers, text and uint8 arrays as values.

    Errors: DataError, naming the file, when the pickle is damaged or asks for anything else.
    """
    try:
        batch: Any = load(io.BytesIO(content), ARRAY_NAMES)
        if type(batch) is not dict:
            raise RefusedPickle(type(batch).__name__)
        batch = cast("dict[Any, Any]", batch)
        return {str(_plain(key)): _plain(item) for key, item in batch.items()}
    except Exception as error:  # a broken pickle raises whatever its opcodes stumble over
        raise DataError(tr("{name} is no CIFAR batch that can be read safely ({reason}); nothing "
                           "in it was run.", name=name,
                           reason=error or type(error).__name__)) from error
