"""Fine-tuning on the command line: its options, and what a run says of the weights it begins with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kiso.cli.options import Option, number, whole, words
from kiso.cli.output import in_thousands, list_some
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.train.setup import Setup

__all__ = ["stage_lines", "tuning_options", "weights_rows"]

SHOWN = 4  # names in a line


def tuning_options() -> list[Option]:
    """What a net begins with, and which part of it learns how fast."""
    panel = tr("Fine-tuning")
    return [
        Option(name="weights", metavar="RUN|FILE", panel=panel,
               help=tr("Begin with these weights: a run, a safetensors file, a PyTorch state dict "
                       "(.pt, .pth), a pickle of NumPy arrays. A run brings its model along; a "
                       "head for other classes begins anew.")),
        Option(name="allow_unmatched", kind="flag", panel=panel,
               help=tr("Take over the weights that match, although others do not.")),
        Option(name="freeze", metavar="A,B,...", read=words, panel=panel,
               help=tr("Patterns of parameters that stay as they are, such as 'features.*'; batch "
                       "norm that is frozen keeps its statistics too.")),
        Option(name="thaw", metavar="A,B,...", read=words, panel=panel,
               help=tr("Patterns of parameters that are trained although --freeze matches them.")),
        Option(name="head_epochs", metavar="N", read=whole, default=tr("off"), panel=panel,
               help=tr("Train the head alone for the first N epochs at --lr, then everything at "
                       "--lr-backbone.")),
        Option(name="lr_backbone", metavar="X", read=number, panel=panel,
               default=tr("--lr; a tenth of it after the head epochs"),
               help=tr("Learning rate of the layers before the head; of all layers after the head "
                       "epochs.")),
        Option(name="lr_of", metavar="PATTERN=X,...", read=words, panel=panel,
               help=tr("Learning rates of their own, such as 'classifier.*=0.01'.")),
    ]


def weights_rows(setup: Setup) -> list[tuple[str, str | list[str]]]:
    """What came from a file, what did not; nothing for a run that begins from scratch."""
    adopted = setup.adopted
    if adopted is None:
        return []
    lines = [tr("{count} arrays from {path}", count=in_thousands(len(adopted.loaded)),
                path=adopted.source)]
    for title, names in (
            (tr("the head begins anew:"), adopted.replaced),
            (tr("not in the file, they begin anew:"), adopted.missing),
            (tr("of another shape, they begin anew:"), adopted.misshapen),
            (tr("not in the model, left out:"), adopted.unexpected)):
        if names:
            lines.append(title + " " + ", ".join(list_some(names, SHOWN)))
    return [(tr("weights"), lines)]


def stage_lines(setup: Setup) -> list[str]:
    """What is frozen, and the stages."""
    lines: list[str] = []
    sizes = {n: p.size for n, p in setup.step.model.named_parameters()}
    still = sum(sizes[n] for n in setup.step.frozen)
    if still:
        lines.append(tr("frozen: {n} of {total} parameters", n=in_thousands(still),
                        total=in_thousands(sum(sizes.values()))))
    if setup.head_step is not None:
        rate = f"{setup.head_step.optimizer.lr:g}"
        lines.append(tr("first {n} epochs: the head alone, lr {lr}", n=setup.head_epochs, lr=rate))
    for pattern, rate in _own_rates(setup):
        lines.append(tr("{pattern}: lr {lr}", pattern=pattern, lr=f"{rate:g}"))
    return lines


def _own_rates(setup: Setup) -> list[tuple[str, float]]:
    """Patterns with a learning rate of their own."""
    rule = setup.step.optimizer
    return [(g.pattern, rule.lr * g.lr_scale) for g in rule.groups if g.lr_scale != 1]
