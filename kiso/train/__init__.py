"""Training: the pure step, the loop around it, run folders, and whole runs.

Read step.py first (all that happens between two batches), then engine.py (eager, traced or
compiled), loop.py (epochs, stopping, going on), store.py and checkpoint.py (what is written),
recipes.py, starts.py and choose.py (what is done where options leave it open), setup.py (from
options to a run), session.py (train, resume), inference.py (evaluate, predict).
Stands on everything below; reports and commands stand on it.
"""

from kiso.train.callbacks import Callback, Context, EarlyStopping
from kiso.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, weights_sha256
from kiso.train.finder import LearningRates, find_lr
from kiso.train.fit import as_splits, fit
from kiso.train.inference import Prediction, evaluate, predict
from kiso.train.options import TrainOptions
from kiso.train.session import RunResult, resume, train

__all__ = [
    "Callback",
    "Checkpoint",
    "Context",
    "EarlyStopping",
    "LearningRates",
    "Prediction",
    "RunResult",
    "TrainOptions",
    "as_splits",
    "evaluate",
    "find_lr",
    "fit",
    "load_checkpoint",
    "predict",
    "resume",
    "save_checkpoint",
    "train",
    "weights_sha256",
]
