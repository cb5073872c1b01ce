"""Other people's files: weights by name, from safetensors, PyTorch and the textbooks' pickles.

Read files.py (which format a file has), pickles.py and torch_file.py (reading pickles without
running them), names.py (where names differ), adopt.py (what fits a model, and what does not).
Loading never executes anything.
"""

from kiso.interop.adopt import Adopted, load_weights
from kiso.interop.files import Weights, read_weights

__all__ = ["Adopted", "Weights", "load_weights", "read_weights"]
