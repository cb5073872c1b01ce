"""From a Python function to a graph: tracer, grammar, verifier, printer, NumPy interpreter.

Stands on `ops` alone. Passes and machine code follow behind the same `Graph`.
"""

from kiso.compiler.graph import Graph, Node, Spec, run, verify
from kiso.compiler.trace import Traced, Var, flatten_tree, trace, unflatten_tree

__all__ = [
    "Graph",
    "Node",
    "Spec",
    "Traced",
    "Var",
    "flatten_tree",
    "run",
    "trace",
    "unflatten_tree",
    "verify",
]
