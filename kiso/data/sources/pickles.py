"""Reading the pickled batches of CIFAR-10 without running anything that a pickle may ask for.

A pickle is a program: it may name any function and call it. Here only the few names that an
array of bytes needs are known, and they stand for small records of this file, not for NumPy's
own constructors; the array is then made from the recorded bytes, whose type and length are
checked.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from kiso.errors import DataError
from kiso.text import tr

__all__ = ["read_batch"]


class _Type:
    """Stands for numpy.dtype: remembers its code ("u1")."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: without meaning for bytes."""


class _Array:
    """Stands for numpy.ndarray: remembers shape, type and content."""

    shape: tuple[int, ...] = ()
    code: str = ""
    content: bytes = b""
    fortran: bool = False

    def __setstate__(self, state: Any) -> None:
        """State of ndarray.__reduce__: version, shape, dtype, is Fortran order, bytes."""
        _, shape, kind, fortran, content = state
        self.shape, self.code = tuple(shape), kind.code
        self.fortran, self.content = bool(fortran), content


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, kind: _Type, shape: Any, order: Any) -> _Array:
    """What newer NumPy writes with protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, kind, order in ("F", b"F"), bytes(content)))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin-1")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        """Only the names above; anything else ends the reading."""
        try:
            return _KNOWN[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name}") from None


def _plain(value: Any) -> Any:
    """Python 2 text (bytes here) -> str, records -> arrays, inside lists too."""
    if isinstance(value, _Array):
        return _array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value


def _array(record: _Array) -> npt.NDArray[np.uint8]:
    content: Any = record.content
    if isinstance(content, str):
        content = content.encode("latin-1")
    shape = tuple(int(length) for length in record.shape)
    if record.code not in ("u1", "|u1", "B", "uint8") or min(shape, default=0) < 0 \
            or not isinstance(content, bytes) or len(content) != math.prod(shape):
        raise pickle.UnpicklingError(f"array {record.code!r} {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if record.fortran else "C")


def read_batch(content: bytes, name: str) -> dict[str, Any]:
    """The dictionary of a CIFAR batch: str keys; lists, numbers, text and uint8 arrays as values.

    Errors: DataError, naming the file, when the pickle is damaged or asks for anything else.
    """
    try:
        batch: Any = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if type(batch) is not dict:
            raise pickle.UnpicklingError(type(batch).__name__)
        batch = cast("dict[Any, Any]", batch)
        return {str(_plain(key)): _plain(item) for key, item in batch.items()}
    except Exception as error:  # a broken pickle raises whatever its opcodes stumble over
        raise DataError(tr("{name} is no CIFAR batch that can be read safely ({reason}); nothing "
                           "in it was run.", name=name,
                           reason=error or type(error).__name__)) from error
