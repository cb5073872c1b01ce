"""Machine code: LLVM at run time, the cache of compiled kernels, memory, calls.

Stands on the compiler: a Plan becomes an Executable.
"""

from kiso.runtime.engine import Executable, Kept, compile_graph
from kiso.runtime.jit import Library, assembly
from kiso.runtime.target import Target, target

__all__ = ["Executable", "Kept", "Library", "Target", "assembly", "compile_graph", "target"]
