"""From a Python function to a graph: tracer, verifier, passes, NumPy interpreter.

Stands on `ops` alone. Passes and machine code follow behind the same `Graph`.
"""

from kiso.compiler.graph import Graph, Node, Spec, run, verify
from kiso.compiler.passes import PASSES, optimise
from kiso.compiler.trace import Traced, Var, trace

__all__ = ["PASSES", "Graph", "Node", "Spec", "Traced", "Var", "optimise", "run", "trace", "verify"]
