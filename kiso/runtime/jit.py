"""LLVM as a service: text of IR in, addresses of functions out."""

from __future__ import annotations

import threading
from typing import Any

import llvmlite.binding
from llvmlite.binding.newpassmanagers import NewPassManager

from kiso.errors import ConfigError
from kiso.runtime import cache
from kiso.runtime.target import Target

__all__ = ["Library", "assembly", "compile_object", "optimised"]

llvm: Any = llvmlite.binding
_lock = threading.Lock()  # LLVM's options are the process's, not a thread's
_started: list[bool] = []

# Unrolling doubles the time to compile, for little: the vectoriser interleaves the loops that
# matter, and the code generator writes out short ones itself.
PASSES = {"loop_vectorization": True, "slp_vectorization": True, "loop_interleaving": True,
          "loop_unrolling": False}
MACHINE: dict[str, Any] = {"opt": 3, "reloc": "pic", "codemodel": "default"}


def _start() -> None:
    if not _started:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        _started.append(True)


def _machine(target: Target) -> Any:
    kind = llvm.Target.from_triple(target.triple)
    return kind.create_target_machine(cpu=target.cpu, features=target.features, **MACHINE)


def _optimise(text: str, target: Target) -> tuple[Any, Any]:
    _start()
    machine = _machine(target)
    module = llvm.parse_assembly(text, llvm.create_context())  # types, constants go with it
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    module.verify()
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


def optimised(text: str, target: Target) -> str:
    """The IR after LLVM's passes, to read."""
    with _lock:
        return str(_optimise(text, target)[0])


def assembly(text: str, target: Target) -> str:
    """The machine code as assembler text, to read."""
    with _lock:
        module, machine = _optimise(text, target)
        return machine.emit_assembly(module)


def compile_object(text: str, target: Target) -> bytes:
    """Machine code as an object file."""
    with _lock:
        module, machine = _optimise(text, target)
        return machine.emit_object(module)


class Library:
    """Loaded machine code; it stays in memory as long as this object lives."""

    _numbers = 0

    def __init__(self, text: str, target: Target, names: list[str]):
        if not target.native:
            raise ConfigError(f"code for {target.name} does not run here; unset KISO_TARGET to "
                              "compute, or print the code with assembly().")
        self.text, self.target = text, target
        self.from_cache = True

        def build() -> bytes:
            self.from_cache = False
            return compile_object(text, target)

        key = cache.key(text, repr(target), llvmlite.__version__, str(llvm.llvm_version_info),
                        repr((PASSES, MACHINE)))
        code = cache.fetch(key, build)
        with _lock:
            _start()
            # JITLink lays code and its constants side by side. The older linker asks the system
            # for each of them; beside large libraries (PyTorch) they came to lie more than 2 GiB
            # apart, and the process was aborted.
            self._jit = llvm.create_lljit_compiler(_machine(target), use_jit_link=True,
                                                   suppress_errors=True)
            Library._numbers += 1
            library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
            for name in names:
                library.export_symbol(name)
            self._tracker = library.link(self._jit, f"kiso{Library._numbers}")
        self.address: dict[str, int] = {name: self._tracker[name] for name in names}
