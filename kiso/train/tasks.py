"""What can be learnt: classes, numbers, or a picture itself.

All that depends on it in a step, in judgement and in the figures of a run stands here, one class
for each; everybody else asks `TASKS[name]`.

    classification    a class for each sample; score: accuracy
    regression        numbers (N, K); score: mean absolute error, in the units of the targets
    reconstruction    the picture itself, in training as augmentation leaves it; what the net sees
                      of it may be corrupted. Score: PSNR, the mean over the pictures, in dB

The targets of a reconstruction are made in the step. In place of them a data set's row numbers go
there, because by them the corruption of pictures that are judged is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kiso import nn, ops
from kiso.data import Dataset, Normalizer
from kiso.text import tr
from kiso.train import metrics

if TYPE_CHECKING:
    from kiso.train.engine import Engine

__all__ = ["RECONSTRUCTION", "TASKS", "Classification", "Reconstruction", "Regression", "Task"]

RECONSTRUCTION = "reconstruction"
SHOWN = 24  # most wrong images in a report
SOME, WORST = 64, 16  # pictures of the test part that predictions.npz holds
BATCH = 256  # samples that are judged together, at most
AT_ONCE = 1 << 23  # numbers of pictures that are put out and held together
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mse": ops.mse_loss, "l1": ops.l1_loss, "huber": ops.huber_loss}

Result = dict[str, Any]


class Task:
    """What all have in common. `score`: its name in history and metrics; `by_score`: whether it
    decides which epoch is the best, before the loss does; `unit`: what samples are called."""

    name: str
    losses: tuple[str, ...]  # the first is the usual one
    score: str
    by_score = False
    unit = "images"

    def title(self) -> str:
        """The score's name, short, for people."""
        raise NotImplementedError

    def text(self, value: float) -> str:
        """A score for people."""
        return f"{value:.4g}"

    def output_shape(self, train: Dataset) -> tuple[int, ...]:
        """What a model must put out for one sample."""
        return (train.outputs,)

    def net(self, model: nn.Module) -> nn.Module:
        """The model without what the loss contains."""
        return model

    def truth(self, y: Any, x: Any) -> Any:
        """What outputs are compared with: y, or the prepared but uncorrupted samples x."""
        return y

    def loss(self, name: str, output: Any, truth: Any, scaling: Normalizer, smoothing: float
             ) -> Any:
        """Loss of each sample (N,)."""
        t = scaling.apply_target(truth)
        return ops.mean(FUNCTIONS[name](output, t, reduction="none"), 1)

    def scored(self, output: Any, truth: Any, scaling: Normalizer) -> Any:
        """Score of each sample (N,)."""
        raise NotImplementedError

    def answer(self, output: Any, scaling: Normalizer) -> Any:
        """What is told of an output: probabilities, values or pictures, in units of the data."""
        return scaling.restore_target(output)

    def judge(self, engine: Engine, part: Dataset) -> Result:
        """Mean loss and score of a data set, and the loss, score and answer of each sample."""
        return _means(engine.evaluate(part.x, part.y))

    def more(self, part: Dataset, result: Result) -> dict[str, float]:
        """Further figures of the validation samples in every epoch."""
        return {}

    def figures(self, engine: Engine, part: Dataset, result: Result) -> dict[str, Any]:
        """All scores of an evaluated data set, JSON-able."""
        raise NotImplementedError

    def arrays(self, engine: Engine, part: Dataset, result: Result) -> dict[str, np.ndarray]:
        """predictions.npz: what the report shows of the test samples."""
        return {"y": part.y, "output": result["output"], "names": np.array(part.names, str),
                "classes": np.array(part.classes, str)}


def _means(found: dict[str, np.ndarray]) -> Result:
    return {"loss": float(found["loss"].mean(dtype=np.float64)), "losses": found["loss"],
            "score": float(found["score"].mean(dtype=np.float64)), "scores": found["score"],
            "output": found.get("output")}


def _pieces(part: Dataset) -> list[np.ndarray]:
    """Row numbers of a data set in pieces of nearly one size, the largest that are held together.
    """
    count = max(1, math.ceil(part.x.size / AT_ONCE))
    return np.array_split(np.arange(len(part)), count)


class Classification(Task):
    """Scores of classes; the loss contains the softmax (exactly and stably)."""

    name, losses, score, by_score = "classification", ("cross_entropy",), "accuracy", True

    def title(self) -> str:
        return tr("accuracy")

    def text(self, value: float) -> str:
        return f"{100 * value:.1f} %"

    def net(self, model: nn.Module) -> nn.Module:
        return nn.split_softmax(model)[0]

    def loss(self, name: str, output: Any, truth: Any, scaling: Normalizer, smoothing: float
             ) -> Any:
        return ops.cross_entropy(output, truth, label_smoothing=smoothing, reduction="none")

    def scored(self, output: Any, truth: Any, scaling: Normalizer) -> Any:
        """1 if the class is right."""
        return ops.cast(ops.equal(ops.argmax(output, 1), truth), "float32")

    def answer(self, output: Any, scaling: Normalizer) -> Any:
        return ops.softmax(output, 1)

    def figures(self, engine: Engine, part: Dataset, result: Result) -> dict[str, Any]:
        output = result["output"]
        matrix = metrics.confusion_matrix(part.y, output.argmax(1), len(part.classes))
        found: dict[str, Any] = {"accuracy": metrics.accuracy(part.y, output.argmax(1))}
        if len(part.classes) > 5:
            found["top5_accuracy"] = metrics.top_k_accuracy(output, part.y, 5)
        found["report"] = metrics.class_report(matrix).as_dict(list(part.classes))
        found["confusion_matrix"] = matrix.tolist()
        return found

    def arrays(self, engine: Engine, part: Dataset, result: Result) -> dict[str, np.ndarray]:
        """With the pictures that have the highest loss among the wrong ones."""
        found = super().arrays(engine, part, result)
        if part.kind == "image":
            wrong = np.flatnonzero(result["output"].argmax(1) != part.y)
            worst = wrong[np.argsort(-result["losses"][wrong], kind="stable")][:SHOWN]
            found |= {"wrong_rows": worst.astype(np.int64), "wrong_images": part.x[worst]}
        return found


class Regression(Task):
    """Numbers; losses of scaled targets."""

    name, losses, score, unit = "regression", ("mse", "l1", "huber"), "mae", "rows"

    def title(self) -> str:
        return tr("MAE")

    def scored(self, output: Any, truth: Any, scaling: Normalizer) -> Any:
        """Mean absolute error."""
        return ops.mean(ops.abs(scaling.restore_target(output) - truth), 1)

    def more(self, part: Dataset, result: Result) -> dict[str, float]:
        return {"r2": metrics.r2(part.y, result["output"])}

    def figures(self, engine: Engine, part: Dataset, result: Result) -> dict[str, Any]:
        y, p = part.y, result["output"]
        return {"mae": metrics.mae(y, p), "mse": metrics.mse(y, p), "rmse": metrics.rmse(y, p),
                "r2": metrics.r2(y, p)}


class Reconstruction(Task):
    """The picture itself; losses of scaled pixels, answers and scores of pixels in 0 ... 255."""

    name, losses, score = RECONSTRUCTION, ("mse", "l1", "huber"), "psnr"

    def title(self) -> str:
        return "PSNR"

    def text(self, value: float) -> str:
        return f"{value:.2f} dB"

    def output_shape(self, train: Dataset) -> tuple[int, ...]:
        return train.input_shape

    def truth(self, y: Any, x: Any) -> Any:
        return x

    def loss(self, name: str, output: Any, truth: Any, scaling: Normalizer, smoothing: float
             ) -> Any:
        return ops.mean(FUNCTIONS[name](output, truth, reduction="none"), (1, 2, 3))

    def scored(self, output: Any, truth: Any, scaling: Normalizer) -> Any:
        """10 log10(255^2 / mean squared error of the pixels), see metrics.psnr."""
        wrong = self.answer(output, scaling) - scaling.restore(truth)
        mse = ops.maximum(ops.mean(wrong * wrong, (1, 2, 3)), metrics.LEAST_MSE)
        return 20 * math.log10(255) - (10 / math.log(10)) * ops.log(mse)

    def answer(self, output: Any, scaling: Normalizer) -> Any:
        return ops.clip(scaling.restore(output), 0.0, 255.0)

    def judge(self, engine: Engine, part: Dataset) -> Result:
        """Without the answers: those of all test pictures might not fit in memory."""
        pieces = [engine.evaluate(part.x[rows], rows) for rows in _pieces(part)]
        return _means({name: np.concatenate([piece[name] for piece in pieces])
                       for name in ("loss", "score")})

    def figures(self, engine: Engine, part: Dataset, result: Result) -> dict[str, Any]:
        """psnr in dB; rmse of all pixels together, in grey levels; input_psnr: that of the
        corrupted pictures, which a net should surpass."""
        mse = metrics.mse_of_psnr(result["scores"])
        found = {"psnr": result["score"], "rmse": math.sqrt(mse.mean())}
        if engine.step.corrupt:
            seen = [metrics.psnr(part.x[rows], engine.step.corrupted(part.x[rows], rows))
                    for rows in _pieces(part)]
            found["input_psnr"] = float(np.concatenate(seen).mean())
        return found

    def arrays(self, engine: Engine, part: Dataset, result: Result) -> dict[str, np.ndarray]:
        """Some pictures, spread evenly, and the worst ones: as they are, as the net saw them, what
        it made of them; PSNR of all pictures."""
        worst = np.argsort(-result["losses"], kind="stable")[:WORST]
        some = np.unique(np.linspace(0, len(part) - 1, SOME).astype(np.int64))
        rows = np.union1d(some, worst)
        x, step = part.x[rows], engine.step
        # As many as fill a batch of the part's own size: another one would be compiled for itself.
        filled = np.resize(rows, max(len(rows), min(len(part), BATCH)))
        given = engine.evaluate(part.x[filled], filled)["output"][:len(rows)]
        found: dict[str, np.ndarray] = {
            "rows": rows, "some": some, "worst": worst, "images": x, "losses": result["losses"],
            "psnr": result["scores"], "y": part.y, "classes": np.array(part.classes, str),
            "outputs": np.rint(given).astype(np.uint8),
            "names": np.array([part.names[row] for row in rows], str)}
        if step.corrupt:
            found["inputs"] = np.rint(step.corrupted(x, rows)).astype(np.uint8)
        return found


TASKS: dict[str, Task] = {
    task.name: task for task in (Classification(), Regression(), Reconstruction())}
