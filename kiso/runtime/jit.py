"""LLVM as a service: text of IR in, addresses of functions out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import llvmlite.binding
from llvmlite.binding.newpassmanagers import NewPassManager

from kiso.compiler.contract import Driver
from kiso.compiler.contract.steps import Source
from kiso.errors import ConfigError
from kiso.runtime.cache import fetch, key
from kiso.runtime.target import Target

__all__ = ["Library", "Objects", "assembly", "compile_object", "merged"]

llvm: Any = llvmlite.binding
_lock = threading.Lock()  # LLVM's options are the process's, not a thread's
if hasattr(os, "register_at_fork"):  # a forked process finds it free
    os.register_at_fork(before=_lock.acquire, after_in_child=_lock.release,
                        after_in_parent=_lock.release)

# Left out: unrolling (twice the time to compile, for little: the loops that matter are written out
# or interleaved) and SLP (it finds hardly anything, and took three quarters of the passes' time).
PASSES = {"loop_vectorization": True, "slp_vectorization": False, "loop_interleaving": True,
          "loop_unrolling": False}
MACHINE: dict[str, Any] = {"opt": 3, "reloc": "pic", "codemodel": "default"}

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()


def _machine(target: Target) -> Any:
    kind = llvm.Target.from_triple(target.triple)
    return kind.create_target_machine(cpu=target.cpu, features=target.features, **MACHINE)


def _optimise(text: str, target: Target, passes: bool = True) -> tuple[Any, Any]:
    machine = _machine(target)
    module = llvm.parse_assembly(text, llvm.create_context())  # types, constants go with it
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    if not passes:
        return module, machine
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    for name, value in PASSES.items():
        setattr(options, name, value)
    builder = llvm.create_pass_builder(machine, options)
    manager: Any = builder.getModulePassManager()
    manager.run(module, builder)
    # llvmlite 0.50 never frees it (94 KB): another base class's _dispose comes first.
    NewPassManager._dispose(manager)  # pyright: ignore[reportPrivateUsage]
    manager.detach()
    return module, machine


def assembly(text: str, target: Target, passes: bool = True) -> str:
    """The machine code as assembler text, to read."""
    with _lock:
        module, machine = _optimise(text, target, passes)
        return machine.emit_assembly(module)


def compile_object(text: str, target: Target, passes: bool = True) -> bytes:
    """Machine code as an object file. Contract kernels need no passes: they are written as the
    processor should run them (no difference was measured, in half the time)."""
    with _lock:
        module, machine = _optimise(text, target, passes)
        return machine.emit_object(module)


def _key(text: str, target: Target) -> str:
    return key(text, repr(target), llvmlite.__version__, str(llvm.llvm_version_info),
                     repr((PASSES, MACHINE)))


class Objects:
    """Machine code of parts of a program, each compiled once for all programs: what a part is
    called says all that its code depends on, so it need not even be written if it is known."""

    def __init__(self, target: Target):
        self.target = target
        self.images: list[bytes] = []
        self.writers: list[Callable[[], Source]] = []
        self.from_cache = True
        self.compiled = 0  # characters of IR

    def compile(self, text: str, passes: bool) -> bytes:
        """Machine code that was not in the cache."""
        self.from_cache = False
        self.compiled += len(text)
        return compile_object(text, self.target, passes)

    def load(self, name: str, write: Callable[[], Source]) -> tuple[tuple[Driver, ...], int]:
        """Drivers and size of the source of this name."""
        def build() -> bytes:
            source = write()
            image = self.compile(source.text, passes=False)
            head = json.dumps([source.size, [astuple(d) for d in source.drivers]]).encode()
            return len(head).to_bytes(4, "little") + head + image

        raw = fetch(_key(name, self.target), build, trim=False)
        end = 4 + int.from_bytes(raw[:4], "little")
        size, drivers = json.loads(raw[4:end])
        self.images.append(raw[end:])
        self.writers.append(write)
        return tuple(Driver(name, tuple(pointers), units, scratch)
                     for name, pointers, units, scratch in drivers), size


class Library:
    """Loaded machine code; it stays in memory as long as this object lives."""

    def __init__(self, text: str, target: Target, names: list[str], parts: Objects | None = None):
        if not target.native:
            raise ConfigError(f"code for {target.name} does not run here; unset KISO_TARGET to "
                              "compute, or print the code with assembly().")
        self.target = target
        self.parts = parts or Objects(target)
        self.main = text
        code = fetch(_key(text, target), lambda: self.parts.compile(text, passes=True))
        self.from_cache = self.parts.from_cache
        with _lock:
            # JITLink lays code and its constants side by side. The older linker asks the system
            # for each of them; beside large libraries (PyTorch) they came to lie more than 2 GiB
            # apart, and the process was aborted.
            self._jit = llvm.create_lljit_compiler(_machine(target), use_jit_link=True,
                                                   suppress_errors=True)
            library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
            for image in self.parts.images:
                library.add_object_img(image)
            for name in names:
                library.export_symbol(name)
            self._tracker = library.link(self._jit, "kiso")
        self.address: dict[str, int] = {name: self._tracker[name] for name in names}

    def assembly(self) -> str:
        """The machine code as assembler text, to read."""
        return "\n".join([assembly(self.main, self.target), *(
            assembly(write().text, self.target, passes=False) for write in self.parts.writers)])

    @property
    def text(self) -> str:
        """The IR of everything, as one module."""
        return merged(self.main, *(w().text for w in self.parts.writers))


def merged(*modules: str) -> str:
    """Several modules as one; a declaration is kept once, and only of what none of them defines."""
    lines = "\n".join(modules).splitlines()

    def symbols(start: str) -> dict[str, str]:
        found = [line for line in lines if line.startswith(start)]
        return {line[line.index("@"):line.index("(", line.index("@"))]: line for line in found}
    declared, defined = symbols("declare"), symbols("define")
    return "\n".join([*(line for line in lines if not line.startswith("declare")),
                      *(line for name, line in declared.items() if name not in defined), ""])
