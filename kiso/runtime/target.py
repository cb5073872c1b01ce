"""Which processor code is generated for: this one, or the one that KISO_TARGET names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.binding

from kiso import config
from kiso.errors import ConfigError

__all__ = ["Target", "flush_text", "target"]

llvm: Any = llvmlite.binding


@dataclass(frozen=True)
class Target:
    """What LLVM is told, and the widest vector in bytes."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    native: bool = True  # code for it runs here


# Kinds of processors, the best of x86 first: generic name, what code for it is told, bytes of a
# vector, registers, features that it must have.
KINDS = {"avx512": ("x86-64-v4", "-prefer-256-bit", 64, 32,
                    {"avx512f", "avx512vl", "avx512dq", "avx512bw"}),
         "avx2": ("x86-64-v3", "-prefer-256-bit", 32, 16, {"avx2", "fma"}),
         "sse2": ("x86-64", "-prefer-256-bit", 16, 16, set[str]()),
         "neon": ("generic", "+neon", 16, 32, set[str]())}


def target() -> Target:
    """The target of this process now."""
    name, triple = config.target(), llvm.get_process_triple()
    features = llvm.get_host_cpu_features()
    arm = triple.startswith(("aarch64", "arm64"))
    runs = [kind for kind, (*_, needs) in KINDS.items()
            if (kind == "neon") == arm and all(features.get(feature) for feature in needs)]
    kind = runs[0] if name == "host" else name
    if kind not in (*runs, "neon"):
        raise ConfigError(f"KISO_TARGET is {name!r}, but this processor has {runs[0]} only.")
    cpu, told, width, registers, _ = KINDS[kind]
    if name == "host":
        cpu, told = llvm.get_host_cpu_name(), f"{features.flatten()},{told}"
    elif kind not in runs:
        triple = "aarch64-unknown-linux-gnu"
    return Target(kind, triple, cpu, told, width, registers, kind in runs)


# Bits of the processor's mode that make subnormal numbers zero, as results and as operands.
MXCSR = 0x8040  # x86: FTZ and DAZ
FPCR = 1 << 24  # ARM: FZ, both

FLUSH_X86 = f"""
define internal i64 @flush() nounwind {{
  %place = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  %old = load i32, ptr %place
  %new = or i32 %old, {MXCSR}
  store i32 %new, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  %mode = zext i32 %old to i64
  ret i64 %mode
}}
define internal void @restore(i64 %mode) nounwind {{
  %place = alloca i32
  %old = trunc i64 %mode to i32
  store i32 %old, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}}
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
"""

FLUSH_ARM = f"""
define internal i64 @flush() nounwind {{
  %old = call i64 @llvm.aarch64.get.fpcr()
  %new = or i64 %old, {FPCR}
  call void @llvm.aarch64.set.fpcr(i64 %new)
  ret i64 %old
}}
define internal void @restore(i64 %mode) nounwind {{
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}}
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
"""


def flush_text(target: Target) -> str:
    """IR of `mode = flush()`: from here on subnormal numbers are 0; and of `restore(mode)`.

    Arithmetic with subnormal numbers (below 1.2e-38 in float32) can take 100 times as long, and
    weights that die away in training pass through them. The mode belongs to a thread, so code that
    comes back to Python must restore it.
    """
    return FLUSH_ARM if target.name == "neon" else FLUSH_X86
