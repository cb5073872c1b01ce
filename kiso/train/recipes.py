"""Recipes: how the authors of a net trained it, in numbers, by name.

A recipe says what a run does where its options leave it open: rule, learning rate and its course,
penalty, batch size, epochs, augmentation, first weights. A net takes the recipe that its card
names, or the one that is called like the net; `--recipe NAME` takes another one. Whatever is given
on the command line holds. choose.py makes the numbers of one run of it and has the rules for small
data.

Two things differ from all papers: the penalty spares biases and norms, and crops are moves of the
whole picture by as large a part of its side.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kiso import models
from kiso.errors import ConfigError
from kiso.text import tr

__all__ = ["DEFAULT", "NONE", "RECIPES", "Recipe", "check_recipe", "recipe_of_model"]

NONE, DEFAULT = "none", "default"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done where the options of a run leave it open.

    source      the paper, in brief; "": Kiso's own
    optimizer   a name of optim.OPTIMIZERS; lr, momentum and weight_decay belong to it, None is its
                own value; extra: further options of the rule
    clip_norm   limit of the gradient's norm; None: none
    undecayed   patterns of parameters that the penalty spares, beside biases and norms
    factors     pattern -> factor of the learning rate; these parameters are decayed, by as much in
                a step as the others
    batch_size, epochs   the paper's; None: by the number of samples
    updates     steps that a run has at least: for few samples there are more epochs
    schedule    as `--schedule` takes it; a fraction stands for that share of the run's epochs
                (in a warm-up: of its steps), `exp:end0.01` ends at 0.01 of the first rate
    augment     as `--augment` takes it; `crop/8` moves by an eighth of the picture's side;
                `automatic`: chosen by the pictures
    init        first weights, see starts.py; "own": the net's
    tta         views of a picture in validation and test, as `--tta` takes them; "": itself alone
    """

    source: str = ""
    optimizer: str = "momentum"
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    clip_norm: float | None = None
    undecayed: tuple[str, ...] = ()
    factors: Mapping[str, float] = field(default_factory=dict[str, float])
    batch_size: int | None = None
    epochs: int | None = None
    updates: int = 2000
    schedule: str = "cosine"
    augment: str = ""
    label_smoothing: float = 0.0
    init: str = "own"
    tta: str = ""


# He et al. 2016. The paper divides the rate by 10 where the error stops falling; the places are
# those of Goyal et al. 2017, as are the 90 epochs.
RESNET = Recipe(
    source="He, Zhang, Ren, Sun 2016", lr=0.1, momentum=0.9, weight_decay=1e-4, batch_size=256,
    epochs=90, schedule="multistep:1/3,2/3,8/9:0.1", augment="shift/8 scale0.2 flip colour0.1")

# He et al. 2016, section 4.2: 64,000 steps, divided by 10 after 32,000 and 48,000; pictures padded
# by 4 pixels and cut back.
RESNET_CIFAR = Recipe(
    source="He, Zhang, Ren, Sun 2016", lr=0.1, momentum=0.9, weight_decay=1e-4, batch_size=128,
    epochs=164, schedule="multistep:1/2,3/4:0.1", augment="crop/8 flip")

# Krizhevsky et al. 2012: about 90 epochs, the rate divided by 10 three times when the error stopped
# falling; crops of 224 from 256 pixels, mirrored, colours moved along their main axes.
ALEXNET = Recipe(
    source="Krizhevsky, Sutskever, Hinton 2012", lr=0.01, momentum=0.9, weight_decay=5e-4,
    batch_size=128, epochs=90, schedule="multistep:1/4,1/2,3/4:0.1",
    augment="shift/14 flip colour0.1", init="alexnet")

# LeCun et al. 1998: 20 passes, sample by sample, the rate falls in four steps to a fiftieth. Theirs
# was scaled for each weight by the curvature there; a momentum and small batches stand in for that.
LENET5 = Recipe(
    source="LeCun, Bottou, Bengio, Haffner 1998", lr=0.01, momentum=0.9, weight_decay=0.0,
    batch_size=32, epochs=20, schedule="multistep:1/10,1/4,2/5,3/5:0.4", init="lenet_uniform")

RECIPES: dict[str, Recipe] = {
    # Kiso's own, measured on the digits (docs/architecture.md, "Defaults by measurement").
    DEFAULT: Recipe(optimizer="adam", lr=5e-3, schedule="onecycle", augment="automatic"),
    NONE: Recipe(optimizer="adam"),
    # Jordan 2024: rate and penalty for a sum over 1024 samples, here for a mean over 512; shifts of
    # norms learn 64 times as fast; the scores of three places, mirrored too, are averaged.
    "fastnet": Recipe(
        source="Jordan 2024", optimizer="nesterov", lr=0.75, momentum=0.85, weight_decay=1.33e-3,
        factors={"*bn?.bias": 64.0}, batch_size=512, epochs=12, updates=1000,
        schedule="onecycle:0.23", augment="shift/16 altflip", label_smoothing=0.2,
        tta="flip shift1"),
    # LeCun 1989: 30 passes, sample by sample. The paper has no numbers for the rate, and the
    # squared error where Kiso has the cross entropy.
    "lenet1989": Recipe(
        source="LeCun 1989", optimizer="sgd", lr=0.01, batch_size=1, epochs=30,
        schedule="constant", init="lenet_uniform"),
    "lenet5": LENET5,
    "alexnet": ALEXNET,
    # Zeiler and Fergus 2014: 70 epochs, weights of 0.01, biases of 0; the penalty is AlexNet's.
    "zfnet": replace(ALEXNET, source="Zeiler, Fergus 2014", epochs=70, init="normal:0.01",
                     augment="shift/14 flip"),
    # Simonyan and Zisserman 2015: batches of 256, 74 epochs, the rate divided by 10 where accuracy
    # stood still. 64 is right for fewer samples and one machine. First weights are the net's own:
    # with the paper's N(0, 0.01) everywhere nets of more than 11 layers had to start from trained
    # ones. The rate is that for 256 samples, with 64 single steps tear the weights apart (one of
    # two seeds on photos of two classes): so the gradient's norm is limited (Pascanu et al. 2013).
    "vgg": replace(ALEXNET, source="Simonyan, Zisserman 2015", batch_size=64, epochs=74,
                   clip_norm=2.0, schedule="multistep:4/5,14/15:0.1", init="own"),
    # Szegedy et al. 2015: momentum 0.9, the rate falls by 4 % every 8 epochs, weights are averaged
    # at the end; the other numbers are those of the published replica (BVLC 2014). Without the
    # average the rate has to fall further: here to a hundredth.
    "googlenet": Recipe(
        source="Szegedy et al. 2015", lr=0.01, momentum=0.9, weight_decay=2e-4, batch_size=32,
        epochs=60, schedule="exp:end0.01", augment="shift/8 scale0.2 flip colour0.1"),
    # Kiso's own: in 2006 the layers were trained one by one. Four epochs of MNIST at a peak of
    # 0.001 gave 19.6 dB, 0.003 21.6, 0.005 22.4.
    "autoencoder": Recipe(optimizer="adam", lr=5e-3, batch_size=128, epochs=10,
                          schedule="onecycle"),
    # Ronneberger et al. 2015 took single large pictures with momentum 0.99, and no rate is in the
    # paper. Small pictures come in batches, and Adam gets further: removing noise0.5 from photos of
    # 32 pixels, a quarter of the width, after 4 epochs on the validation part: momentum 0.99 with
    # rate 0.001 20.2 dB, Adam with 0.001 22.1. After 20 epochs Adam with a cosine from 0.001 gave
    # 24.9 dB on the test part, with a one-cycle to 0.002 25.6.
    "unet": Recipe(optimizer="adam", lr=2e-3, batch_size=32, epochs=20, schedule="onecycle",
                   augment="flip"),
    "resnet": RESNET,
    "resnet_cifar": RESNET_CIFAR,
    # The same for 110 layers: the first 400 steps are slower.
    "resnet_cifar_deep": replace(RESNET_CIFAR, schedule="warmup:1/160+multistep:1/2,3/4:0.1"),
    # He et al. 2016, "Identity mappings", appendix: as above, 400 slow steps at the beginning.
    "preact_resnet": replace(RESNET_CIFAR, schedule="warmup:1/160+multistep:1/2,3/4:0.1"),
    # Zagoruyko and Komodakis 2016, section 3: times 0.2 after 60, 120 and 160 of 200 epochs.
    "wide_resnet": replace(
        RESNET_CIFAR, source="Zagoruyko, Komodakis 2016", optimizer="nesterov", weight_decay=5e-4,
        epochs=200, schedule="multistep:3/10,3/5,4/5:0.2"),
    # Huang et al. 2017, section 4.2.
    "densenet": replace(RESNET, source="Huang, Liu, van der Maaten, Weinberger 2017",
                        optimizer="nesterov", schedule="multistep:1/3,2/3:0.1"),
    "densenet_cifar": replace(
        RESNET_CIFAR, source="Huang, Liu, van der Maaten, Weinberger 2017", optimizer="nesterov",
        batch_size=64, epochs=300),
    # Howard et al. 2017: RMSProp as for Inception v3 (Szegedy et al. 2016: rate 0.045, eps 1),
    # little distortion, no penalty on depthwise filters. Batch and epochs are not in the paper.
    "mobilenet": Recipe(
        source="Howard et al. 2017", optimizer="rmsprop", lr=0.045, momentum=0.9,
        weight_decay=4e-5, extra={"alpha": 0.9, "eps": 1.0}, undecayed=("*depthwise.weight",),
        batch_size=96, epochs=90, schedule="exp:end0.01", augment="shift/8 flip"),
}


def check_recipe(name: str) -> str:
    """The name, if there is such a recipe.  Errors: ConfigError with near names."""
    if name in RECIPES:
        return name
    near = difflib.get_close_matches(name, RECIPES, 3)
    hint = tr("Did you mean {words}?", words=", ".join(near)) + " " if near else ""
    raise ConfigError(tr("unknown recipe {name!r}.", name=name) + " " + hint
                      + tr("`kiso models --recipes` lists all recipes."))


def recipe_of_model(model: str) -> str:
    """The recipe of a net: what its card names, else the one of its own name, else none.

    Errors: DescriptionError for options that the net does not take.
    """
    entry = models.find(model)
    if entry is None:
        return NONE
    return entry.card(entry.name).recipe or (entry.name if entry.name in RECIPES else NONE)
