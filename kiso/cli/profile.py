"""`kiso profile`: where the time of a training step goes, and how near that is to the machine."""

from __future__ import annotations

import json
from pathlib import Path
from re import sub
from typing import TYPE_CHECKING

from kiso.cli.look import dimensions, in_bytes, model_of
from kiso.cli.machine import processor
from kiso.cli.output import Output, finite
from kiso.errors import ConfigError
from kiso.files import write_atomic
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.report.profile import Cost, KernelCost, Profile

__all__ = ["profile"]

LONGEST = 16  # characters of a kernel's work
SHORT = {"ConvInputGrad": "Conv gx", "ConvWeightGrad": "Conv gW",
         "SoftmaxCrossEntropy": "CrossEntropy"}


def profile(output: Output, model: str, input: tuple[int, ...] | None = None, batch: int = 32,
            outputs: int | None = None, optimizer: str = "adam", threads: int | None = None,
            conv: str | None = None, seconds: float = 1.0, kernels: bool = False,
            out: str | None = None) -> int:
    """Compile and run a training step; print what each layer (and kernel) costs."""
    from kiso.report.profile import profile as measured

    if not 0 < seconds < 3600:
        raise ConfigError(tr("--seconds is {value}; expected a number above 0 and below 3600.",
                             value=seconds))
    net, input = model_of(model, input, outputs)
    found = measured(net, input, batch, optimizer=optimizer, threads=threads, conv=conv,
                     seconds=seconds)
    content = {"model": model, "input": input, "optimizer": optimizer, "machine": processor(),
               **found.to_dict()}
    if out:
        text = json.dumps(finite(content), indent=2) + "\n"
        write_atomic(Path(out), text.encode())
    if kernels:
        kernel_table(output, found)
    layer_table(output, found)
    facts(output, found)
    output.document(content)
    return 0


def part_name(part: str) -> str:
    """The part of a step in the user's language."""
    return {"forward": tr("forward"), "backward": tr("backward"), "update": tr("update")}[part]


def layer_name(layer: str) -> str:
    """A layer's name, or what stands for no layer."""
    return {"(loss)": tr("(loss)"), "(optimizer)": tr("(optimizer)")}.get(layer, layer)


def cells(found: Profile, cost: Cost) -> list[str]:
    """Time, rate and share of the FMA peak, bytes, their rate and share of the bandwidth, and which
    of the two limits is nearer."""
    if not cost.seconds:
        return ["0"] + [""] * 6
    peak, memory = found.shares(cost)
    rate = [f"{cost.useful / cost.seconds / 1e9:.0f}", f"{peak:.0%}"]
    return [f"{cost.seconds * 1e3:.3f}", *(rate if cost.useful else ["", ""]),
            f"{cost.bytes / 1e6:.2f}", f"{cost.bytes / cost.seconds / 1e9:.0f}", f"{memory:.0%}",
            "FMA" if peak > memory else "RAM"]


def layer_table(output: Output, found: Profile) -> None:
    """For each layer the parts of a step that it has a share in; then their sums."""
    rows: list[list[str]] = []
    kinds = {row.name: row.layer.partition("(")[0] for row in found.layers}
    for layer in dict.fromkeys([*kinds, *(k.origin.layer for k in found.kernels)]):
        title = f"{layer_name(layer)} {kinds.get(layer, '')}".strip()
        for part in ("forward", "backward", "update"):
            served = [k for k in found.kernels if any(
                o.layer == layer and o.part == part for o in k.serves)]
            own = [k for k in served if (k.origin.layer, k.origin.part) == (layer, part)]
            if own:
                rows.append([title, part_name(part), *cells(found, found.cost(layer, part))])
            elif served:
                rows.append([title, part_name(part), within(served), *[""] * 6])
            title = "" if served else title
    for part in ("forward", "backward", "update"):
        title = tr("all layers") if part == "forward" else ""
        rows.append([title, part_name(part), *cells(found, found.cost(part=part))])
    output.table([tr("Layer"), tr("part"), "ms", "GFLOP/s", tr("of FMA"), "MB", "GB/s",
                  tr("of RAM"), tr("limit")], rows, numbers=range(2, 8))


def within(served: list[KernelCost]) -> str:
    """Which layers' kernels do the work of a layer that has none."""
    layers = dict.fromkeys(layer_name(k.origin.layer) for k in served)
    return tr("in {layers}", layers=", ".join(layers))


def kernel_table(output: Output, found: Profile) -> None:
    """Every kernel, in the order of a step."""
    rows: list[list[str]] = []
    for k in found.kernels:
        work = work_words(k)
        work = work if len(work) <= LONGEST else work[:LONGEST - 1] + "+"
        work = tr("{work} once", work=work) if k.once else work
        time, rate, peak, size, _, memory, _ = cells(found, k.cost)
        where = f"{layer_name(k.origin.layer)} {part_name(k.origin.part)}"
        rows.append([str(k.number), where, work, dimensions(k.shape), time, rate, peak, size,
                     memory])
    output.table(["", tr("Layer"), tr("kernel"), tr("result"), "ms", "GF/s", tr("of FMA"), "MB",
                  tr("of RAM")], rows, numbers=(0, *range(4, 9)))


def work_words(kernel: KernelCost) -> str:
    """Names of the operations, shortened; behind a convolution its form."""
    words = [SHORT.get(word, word) for word in kernel.work.split()]
    if kernel.form:
        words.insert(1, short(kernel.form))
    return " ".join(words)


def short(form: str) -> str:
    """F(4x4, 3x3) as F(4x4)."""
    return sub(", .*", ")", form)


def facts(output: Output, found: Profile) -> None:
    """The whole step, the machine, memory, and how long it took to compile."""
    shared = sum(k.shared for k in found.kernels)
    how = tr("from the cache") if found.from_cache else tr("compiled anew")
    output.fields([
        (tr("step"), [
            tr("{step} ms: kernels {kernels} ms, the rest {rest} ms", step=ms(found.step),
               kernels=ms(found.seconds), rest=ms(found.step - found.seconds)),
            tr("(the rest: barriers, waiting for the slower thread, the call)"),
            tr("{step} ms with the clock read around each kernel", step=ms(found.step_read)),
            tr("median of {steps} steps of {batch} samples", steps=found.steps,
               batch=found.batch)]),
        (tr("kernels"), tr("{count}, of which {shared} are shared by {threads} threads; {barriers} "
                           "barriers", count=len(found.kernels), shared=shared,
                           threads=found.threads, barriers=found.phases)),
        (tr("machine"), [processor(), tr(
            "measured with {threads} threads: {peak} GFLOP/s, {memory} GB/s",
            threads=found.threads, peak=f"{found.fma_peak / 1e9:.0f}",
            memory=f"{found.bandwidth / 1e9:.1f}")]),
        (tr("memory"), [tr("{size} for values between kernels", size=in_bytes(found.arena_bytes)),
                        tr("{size} of parameters, {state} with all state",
                           size=in_bytes(found.parameter_bytes),
                           state=in_bytes(found.state_bytes)),
                        tr("{size} of scratch", size=in_bytes(found.scratch_bytes))]),
        (tr("compiling"), tr("{trace} s to trace, {code} s for the code ({how})",
                             trace=f"{found.trace_seconds:.2f}",
                             code=f"{found.compile_seconds:.2f}", how=how)),
    ])
    output.show(tr("GFLOP/s: products and convolutions, without those with the padding's zeros."))
    forms = sorted({short(k.form) for k in found.kernels if k.form})
    if forms:
        output.show(tr("{forms}: Winograd's form, fewer operations than counted: above 100 % of "
                       "FMA is possible.", forms=", ".join(forms)))
    output.show(tr("MB: arrays read or written; above 100 % of RAM they come from a cache."))


def ms(seconds: float) -> str:
    """Seconds in milliseconds."""
    return f"{seconds * 1e3:.3f}"
