"""From kernels to LLVM IR, as text: the last step of the compiler. `runtime` runs it.

ir (text), vmath <- dag (index arithmetic) <- convert (loops) <- scalar (elements) <- reduction
<- kernel <- module; split cuts large reductions before.
"""

from kiso.compiler.codegen.module import Code, Module, generate
from kiso.compiler.codegen.split import split_reductions

__all__ = ["Code", "Module", "generate", "split_reductions"]
