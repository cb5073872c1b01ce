"""From kernels to LLVM IR, as text: the last step of the compiler. `runtime` runs it.

ir (text), vmath <- dag (index arithmetic) <- convert (loops) <- scalar (elements) <- kernel
<- module.
"""

from kiso.compiler.codegen.kernel import Code
from kiso.compiler.codegen.module import Module, generate

__all__ = ["Code", "Module", "generate"]
