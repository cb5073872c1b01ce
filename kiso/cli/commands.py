"""The commands and all that can be said to them: purpose, examples, options.

Functions, not constants, because the sentences depend on the language, which is known only when the
program runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kiso.cli.layers import layer_words
from kiso.cli.options import (
    Option,
    count,
    dimensions,
    form,
    fractions,
    number,
    picture_size,
    whole,
    words,
)
from kiso.cli.output import Output
from kiso.cli.tuning import tuning_options
from kiso.text import tr

__all__ = ["Command", "all_commands", "common_options"]


@dataclass(frozen=True)
class Command:
    """A command: `run(output, **options)` does it and returns the exit code."""

    name: str
    purpose: str
    examples: tuple[str, ...]
    options: tuple[Option, ...]
    run: Callable[..., int]
    topics: dict[str, list[tuple[str, str]]] = field(
        default_factory=dict[str, list[tuple[str, str]]])  # further headings of the help


def common_options() -> list[Option]:
    """What every command understands."""
    panel = tr("General")
    return [
        Option(name="quiet", short="-q", kind="flag", panel=panel, help=tr("Print errors only.")),
        Option(name="json", kind="flag", panel=panel,
               help=tr("Print one JSON document to standard output, and nothing else there.")),
        Option(name="lang", metavar="en|ja", panel=panel,
               help=tr("Language of all text; KISO_LANG sets it for good.")),
        Option(name="debug", kind="flag", panel=panel,
               help=tr("Show the traceback of an error; KISO_DEBUG=1 does the same.")),
    ]


def run_argument() -> Option:
    """The folder of an earlier run."""
    return Option(name="run", kind="required", metavar="RUN", panel=tr("Arguments"),
                  help=tr("Folder of a run, as `kiso train` printed it."))


def checkpoint_option() -> Option:
    """Which of the two stored sets of weights."""
    return Option(name="checkpoint", metavar="best|last", default="best", panel=tr("Data"),
                  help=tr("Weights of the best epoch, or of the last one."))


def threads_option(panel: str) -> Option:
    """How many threads compute."""
    return Option(name="threads", metavar="N", read=count, default=tr("all cores"), panel=panel,
                  help=tr("Threads to compute with."))


def conv_option(panel: str, default: str = "") -> Option:
    """How convolutions are computed."""
    return Option(name="conv", metavar="FORM", read=form, panel=panel,
                  default=default or tr("KISO_CONV, or else auto"),
                  help=tr("Form of convolutions: direct; winograd, wherever it is possible; auto, "
                          "for each by its shape; measured, the faster one here."))


def data_options() -> list[Option]:
    """Where samples come from, and how they are read."""
    panel = tr("Data")
    broken = Option(
        name="on_broken", metavar="skip|fail", default="skip", panel=panel,
        help=tr("What to do with unreadable files and rows: leave them out, or refuse all."))
    return [
        Option(name="data_dir", metavar="FOLDER", default="KISO_DATA", panel=panel,
               help=tr("Folder in which data sets are looked up first.")),
        broken,
        Option(name="download", kind="flag", panel=panel,
               help=tr("Fetch mnist, fashion_mnist or cifar10 when it is not here.")),
        Option(name="split", metavar="F[,F,F]", read=fractions, default="0.7,0.15,0.15",
               panel=panel, help=tr("Fractions for training, validation and test.")),
        Option(name="size", metavar="N|HxW", read=picture_size, panel=panel,
               default=tr("as they are up to 64x64, else 32"),
               help=tr("Pixels to which pictures are cropped and scaled.")),
        Option(name="grey", kind="flag", panel=panel,
               help=tr("Read pictures in one channel instead of three.")),
        Option(name="fit", metavar="crop|pad|stretch", default="crop", panel=panel,
               help=tr("How a picture of another shape becomes --size.")),
        Option(name="max_pixels", metavar="N", read=count, default="50000000", panel=panel,
               help=tr("Refuse pictures with more pixels, before they are decoded.")),
        Option(name="classes", metavar="A,B,...", read=words, default=tr("all"), panel=panel,
               help=tr("Use only the samples of these classes.")),
        Option(name="target", metavar="COLUMN", panel=panel,
               help=tr("Column of a CSV table that is to be predicted.")),
        Option(name="columns", metavar="A,B,...", read=words, default=tr("all others"),
               panel=panel, help=tr("Columns of a CSV table to predict from.")),
        Option(name="task", metavar="NAME", panel=panel,
               default=tr("follows from the target, or the model"),
               help=tr("What is learnt: classification, regression, or reconstruction (to give "
                       "pictures back).")),
    ]


def training_options() -> list[Option]:
    """How the weights are found."""
    panel = tr("Training")
    by_task, by_recipe = tr("follows from the data"), tr("the recipe's")
    return [
        Option(name="model", short="-m", metavar="TEXT", default=by_task, panel=panel,
               help=tr("Layers in words (`kiso summary --help` shows how), or a model's name "
                       "(`kiso models` lists them).")),
        Option(name="recipe", metavar="NAME", default=tr("the model's"), panel=panel,
               help=tr("How to train where nothing else is said, as a paper did or default or none "
                       "(`kiso models --recipes` lists them).")),
        Option(name="epochs", short="-e", metavar="N", read=whole, default=by_recipe, panel=panel,
               help=tr("Passes over the training samples.")),
        Option(name="batch_size", short="-b", metavar="N", read=whole, default=by_recipe,
               panel=panel, help=tr("Samples in a step.")),
        Option(name="optimizer", metavar="NAME", default=by_recipe, panel=panel,
               help=tr("Update rule: sgd, momentum, nesterov, adam, adamw, lion, ...")),
        Option(name="lr", metavar="X", read=number, panel=panel, help=tr("Learning rate."),
               default=by_recipe),
        Option(name="momentum", metavar="X", read=number, default=by_recipe,
               panel=panel, help=tr("Momentum, for optimizers that have it.")),
        Option(name="weight_decay", metavar="X", read=number, default=by_recipe,
               panel=panel, help=tr("Decay of the weights (not of biases and norms).")),
        Option(name="schedule", metavar="TEXT", panel=panel,
               default=by_recipe,
               help=tr("Course of the learning rate: constant, cosine, step, onecycle, ...")),
        Option(name="augment", metavar="TEXT", default=by_recipe, panel=panel,
               help=tr("Random changes to training pictures, such as 'shift2 flip rotate10'.")),
        Option(name="corrupt", metavar="TEXT", default=tr("nothing"), panel=panel,
               help=tr("What is done to pictures that a net has to give back clean, such as "
                       "'noise0.5', 'drop0.3 cutout8'.")),
        Option(name="loss", metavar="NAME", default=tr("follows from the target"), panel=panel,
               help=tr("cross_entropy for classes; mse, l1 or huber for numbers and pictures.")),
        Option(name="label_smoothing", metavar="X", read=number, default=by_recipe, panel=panel,
               help=tr("Share of the target that is spread over all classes.")),
        Option(name="tta", metavar="TEXT", default=by_recipe, panel=panel,
               help=tr("Views of a picture whose scores are averaged in validation and test: flip, "
                       "shift1, both, or none.")),
        Option(name="init", metavar="NAME", default=by_recipe, panel=panel,
               help=tr("First weights: own (the net's), he_normal, normal:0.01, alexnet, ...")),
        Option(name="clip_norm", metavar="X", read=number, default=by_recipe, panel=panel,
               help=tr("Limit of the gradient's norm.")),
        Option(name="patience", metavar="N", read=whole, default=tr("off"), panel=panel,
               help=tr("Stop after so many epochs without a better validation loss.")),
    ]


def run_options() -> list[Option]:
    """Where and how a run is carried out."""
    panel = tr("Run")
    return [
        Option(name="out", short="-o", metavar="FOLDER", default=tr("a new one below runs/"),
               panel=panel, help=tr("Folder for the results.")),
        Option(name="overwrite", kind="flag", panel=panel,
               help=tr("Replace an earlier run in that folder.")),
        Option(name="seed", metavar="N", read=whole, default="0", panel=panel,
               help=tr("The same seed gives the same weights.")),
        *engine_options(),
    ]


def engine_options() -> list[Option]:
    """How a model is computed."""
    panel = tr("Run")
    return [
        Option(name="engine", metavar="NAME", default="compiled", panel=panel,
               help=tr("How a step is computed: eager (line by line), traced (as one graph) or "
                       "compiled (as machine code).")),
        threads_option(panel),
        conv_option(panel),
    ]


def train_command() -> Command:
    """`kiso train`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.train import train
        return train(output, **values)

    data = Option(name="data", kind="argument", metavar="DATA", default="digits",
                  panel=tr("Arguments"),
                  help=tr("digits, mnist, fashion_mnist, cifar10; a folder with a folder of "
                          "pictures for each class; a .csv, .npz or .tar.gz file."))
    return Command(
        "train", tr("Train a model and write a report."),
        ("kiso train",
         'kiso train mnist --model "flatten linear100 relu linear10" --epochs 10',
         "kiso train photos/ --size 32 --epochs 5 --augment 'flip shift2'",
         "kiso train houses.csv --target price --out runs/houses",
         "kiso train photos/ --weights runs/animals --head-epochs 2 --epochs 6"),
        (data, *training_options(), *tuning_options(), *data_options(), *run_options()), run)


def resume_command() -> Command:
    """`kiso resume`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.train import resume
        return resume(output, **values)

    return Command("resume", tr("Go on with a run that was stopped, to the same weights."),
                   ("kiso resume runs/digits",),
                   (run_argument(), threads_option(tr("Run")),
                    conv_option(tr("Run"), tr("as before"))), run)


def evaluate_command() -> Command:
    """`kiso evaluate`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.judge import evaluate
        return evaluate(output, **values)

    data = Option(name="data", kind="argument", metavar="DATA", panel=tr("Arguments"),
                  default=tr("the run's test samples"),
                  help=tr("Other data to judge the model with: a name, folder or file."))
    wanted = {"data_dir", "on_broken"}
    return Command("evaluate", tr("Measure how good a trained model is."),
                   ("kiso evaluate runs/digits", "kiso evaluate runs/photos more-photos/"),
                   (run_argument(), data, checkpoint_option(),
                    *(o for o in data_options() if o.name in wanted), *engine_options()), run)


def predict_command() -> Command:
    """`kiso predict`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.judge import predict
        return predict(output, **values)

    files = Option(name="files", kind="many", metavar="FILES...", panel=tr("Arguments"),
                   help=tr("Pictures, folders of pictures, or a CSV table for a model of tables."))
    panel = tr("Output")
    return Command(
        "predict", tr("Let a trained model judge new pictures or rows."),
        ("kiso predict runs/photos new/*.jpg",
         "kiso predict runs/houses new-houses.csv --csv > prices.csv"),
        (run_argument(), files, checkpoint_option(),
         Option(name="csv", kind="flag", panel=panel, help=tr("Print comma-separated values.")),
         Option(name="out", short="-o", metavar="FILE", panel=panel,
                help=tr("Write comma-separated values to this file.")),
         Option(name="pictures", metavar="FOLDER", panel=panel,
                default=tr("predicted/ in the run's folder"),
                help=tr("Where a net that gives pictures back puts them, as PNG; it sees the files "
                        "as they are, not corrupted.")),
         *engine_options()), run)


def report_command() -> Command:
    """`kiso report`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.judge import report
        return report(output, **values)

    return Command("report", tr("Write the report of a run anew, for example in another language."),
                   ("kiso report runs/digits", "kiso report runs/digits --lang ja"),
                   (run_argument(),), run)


def model_options() -> tuple[Option, ...]:
    """Which model, for what it is looked at."""
    model = Option(name="model", kind="required", metavar="MODEL", panel=tr("Arguments"),
                   help=tr("Layers in words, for example 'conv30k5 relu pool2 flatten linear10', "
                           "or a model's name, which `kiso models` lists."))
    return model, *sample_options()


def sample_options() -> tuple[Option, ...]:
    """What a model is made for."""
    panel = tr("Model")
    size = Option(name="input", short="-i", metavar="1x28x28", read=dimensions, panel=panel,
                  default=tr("what a model by name was made for"),
                  help=tr("Shape of a sample: channels, height and width; for tables the number of "
                          "columns."))
    outputs = Option(name="outputs", metavar="N", read=count, panel=panel,
                     default=tr("what a model by name was made for, else 10"),
                     help=tr("Classes or target values."))
    return size, outputs


def summary_command() -> Command:
    """`kiso summary`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.look import summary
        return summary(output, **values)

    return Command(
        "summary", tr("List a model's layers, shapes, parameters and costs."),
        ('kiso summary "conv30k5 relu pool2 flatten linear10" --input 1x28x28',
         "kiso summary 'resnet18(width=0.5)' --input 3x64x64"),
        model_options(), run, {tr("Words for layers"): layer_words()})


def show_command() -> Command:
    """`kiso show`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.show import show
        return show(output, **values)

    panel = tr("Model")
    return Command(
        "show", tr("Print what the compiler makes of a model, stage by stage."),
        ('kiso show "linear4 relu linear2" --input 3 --stage graph',
         'kiso show "conv4k3 relu linear10" -i 1x8x8 --stage kernels --gradients'),
        (*model_options(),
         Option(name="stage", metavar="STAGE", default="graph", panel=panel,
                help=tr("graph: as traced; passes: after all passes; kernels: as loops, and which "
                       "convolutions take Winograd's form; llvm: as LLVM IR; asm: as instructions "
                       "of this processor.")),
         Option(name="batch", metavar="N", read=count, default="1", panel=panel,
                help=tr("Samples in a batch.")),
         conv_option(panel),
         Option(name="gradients", kind="flag", panel=panel,
                help=tr("Loss and all gradients instead of inference."))), run)


def profile_command() -> Command:
    """`kiso profile`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.profile import profile
        return profile(output, **values)

    panel, measuring = tr("Model"), tr("Measurement")
    return Command(
        "profile", tr("Measure where the time of a training step goes, layer by layer."),
        ('kiso profile "conv32 relu pool2 linear10" --input 1x28x28 --batch 100',
         'kiso profile "conv64 relu conv64 relu linear10" -i 3x32x32 --kernels'),
        (*model_options(),
         Option(name="batch", short="-b", metavar="N", read=count, default="32", panel=panel,
                help=tr("Samples in a batch.")),
         Option(name="optimizer", metavar="NAME", default="adam", panel=panel,
                help=tr("Update rule: sgd, momentum, nesterov, adam, adamw, lion, ...")),
         Option(name="kernels", kind="flag", panel=measuring,
                help=tr("List every kernel, in the order of a step.")),
         Option(name="seconds", metavar="X", read=number, default="1", panel=measuring,
                help=tr("How long to measure.")),
         Option(name="out", short="-o", metavar="FILE", panel=measuring,
                help=tr("Write all numbers to this file as JSON.")),
         threads_option(measuring), conv_option(measuring)), run)


def models_command() -> Command:
    """`kiso models`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.zoo import zoo
        return zoo(output, **values)

    name = Option(name="model", kind="argument", metavar="NAME", panel=tr("Arguments"),
                  default=tr("all, in a table"),
                  help=tr("A model whose card is wanted, with options in brackets if it has some."))
    measure = Option(name="time", kind="flag", panel=tr("Measurement"),
                     help=tr("Measure how long one sample takes here; slow for large nets."))
    recipes = Option(name="recipes", kind="flag", panel=tr("Recipes"),
                     help=tr("List the recipes instead: how the nets of papers were trained."))
    return Command(
        "models", tr("List the models that have a name, or show the card of one."),
        ("kiso models", "kiso models 'resnet50(version=1.5)'",
         "kiso models vgg16 --input 3x64x64 --time"),
        (name, *sample_options(), recipes, measure, threads_option(tr("Measurement"))), run)


def info_command() -> Command:
    """`kiso info`."""
    def run(output: Output, **values: Any) -> int:
        from kiso.cli.look import info
        return info(output, **values)

    where = [option for option in data_options() if option.name == "data_dir"]
    return Command("info", tr("Show versions, processor, memory, folders and data sets."),
                   ("kiso info", "kiso info --json"), tuple(where), run)


def all_commands() -> list[Command]:
    """Every command, in the order of the help."""
    return [train_command(), resume_command(), evaluate_command(), predict_command(),
            report_command(), models_command(), summary_command(), show_command(),
            profile_command(), info_command()]
