"""Memory of a training step: `python -m benchmarks.memory SIDE NET THREADS` in a fresh process.

The peak of resident memory during three steps, less what was resident before the model was built
(interpreter and libraries). So it counts the batch, weights, gradients, the optimizer's state,
activations, workspaces and whatever a side keeps beside them, but not what compiling needs for a
while: two steps are done before the peak is reset. Linux only.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.nets import Net

__all__ = ["main", "peak_bytes"]

WARM_UP, STEPS = 2, 3
CLEAR = Path("/proc/self/clear_refs")  # writing 5 there resets the peak
STATUS = Path("/proc/self/status")


def peak_bytes(side: str, net: Net, threads: int) -> int | None:
    """Bytes that training this net takes; side is "kiso" or a mode of PyTorch.

    None where the system does not tell. Errors: RuntimeError if the process fails.
    """
    if not CLEAR.exists():
        return None
    done = subprocess.run([sys.executable, "-m", "benchmarks.memory", side,
                           json.dumps(asdict(net)), str(threads)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the memory of {side} was not measured: {done.stderr[-500:]}")
    return int(done.stdout)


def status(name: str) -> int:
    """A line of the process's status, in bytes."""
    for line in STATUS.read_text("ascii").splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def main(side: str, described: str, threads: str) -> int:
    """Print the bytes."""
    values = json.loads(described)
    net = Net(**{**values, "shape": tuple(values["shape"])})
    contender = prepare(side)
    before = status("VmRSS")
    trained: Any = contender(net, int(threads))
    for _ in range(WARM_UP):
        trained.step()
    CLEAR.write_text("5", "ascii")
    for _ in range(STEPS):
        trained.step()
    print(status("VmHWM") - before)
    return 0


def prepare(side: str) -> Any:
    """All imports of a side; what makes its contender."""
    importlib.import_module("kiso.runtime")
    from benchmarks.ours import Kiso

    if side == "kiso":
        return Kiso
    import torch

    from benchmarks.peer_torch import Torch

    torch.ones(4, 4, requires_grad=True).square().sum().backward()  # its threads and tables
    return lambda net, threads: Torch(net, net.build(), side, threads)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
