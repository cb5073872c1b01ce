"""From kernels to LLVM IR, as text: the last step of the compiler. `runtime` runs it.

dag (index arithmetic) <- convert (loops) <- scalar, vmath (elements) <- kernel <- module; ir writes.
"""

from kiso.compiler.codegen.kernel import Code
from kiso.compiler.codegen.module import Module, generate

__all__ = ["Code", "Module", "generate"]
