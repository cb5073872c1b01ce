"""The contract kernel: matrix products and convolutions of every kind from one micro-kernel.

Reading order: `tiles` (partitions, a cost model), `emit` (writing LLVM IR), `micro` (the kernel),
`pack` (operands without gaps), `shape` and `cut` (the parts of a convolution), then the drivers
`matmul`, `conv` and `conv_weights`; for Winograd's form `transform`, `winograd` and
`winograd_weights`; last `steps`. They stand at the end of the pipeline, beside the generator of
loops: the plan asks for a `Driver`, code generation calls its function from every thread with a
range of units.
"""

from kiso.compiler.contract.conv import SlidingDriver
from kiso.compiler.contract.conv_weights import conv_weight_gradient, conv_weight_sum
from kiso.compiler.contract.emit import Driver, Library
from kiso.compiler.contract.matmul import Product, matmul
from kiso.compiler.contract.shape import Conv
from kiso.compiler.contract.tiles import AVX2, AVX512, NEON, Machine
from kiso.compiler.contract.winograd import WinogradDriver

__all__ = ["AVX2", "AVX512", "NEON", "Conv", "Driver", "Library", "Machine", "Product",
           "SlidingDriver", "WinogradDriver", "conv_weight_gradient", "conv_weight_sum", "matmul"]
