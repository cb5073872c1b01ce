"""How weights learn: update rules and learning-rate schedules.

Place in the pipeline: the trainer computes gradients (autograd) and hands them to a rule from
here, which gives the new weights; the schedule says how large the steps are. Read rule.py (what
all rules share), then sgd.py, adaptive.py, adam.py, lion.py, eve.py, then schedule.py.

Default learning rates:

    sgd, momentum, nesterov, adagrad, rmsprop   0.01
    adam, adamw, radam, eve                     0.001
    nadam                                       0.002
    lion                                        0.0001
    adadelta                                    1
"""

from kiso.optim.adam import Adam, AdamW, NAdam, RAdam
from kiso.optim.adaptive import AdaDelta, AdaGrad, RMSProp
from kiso.optim.bound import Bound
from kiso.optim.eve import Eve
from kiso.optim.groups import Group, no_decay_on_bias_and_norm
from kiso.optim.lion import Lion
from kiso.optim.names import (
    OPTIMIZERS,
    SCHEDULES,
    OptimizerEntry,
    ScheduleEntry,
    parse_optimizer,
    parse_schedule,
)
from kiso.optim.rule import Optimizer, bias_correction, clip_by_norm, clip_by_value, global_norm
from kiso.optim.schedule import (
    Constant,
    CosineAnnealingLR,
    ExponentialLR,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)
from kiso.optim.sgd import SGD

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Bound",
    "Constant",
    "CosineAnnealingLR",
    "Eve",
    "ExponentialLR",
    "Group",
    "LinearWarmup",
    "Lion",
    "MultiStepLR",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "OptimizerEntry",
    "RAdam",
    "RMSProp",
    "ReduceLROnPlateau",
    "Schedule",
    "ScheduleEntry",
    "StepLR",
    "bias_correction",
    "clip_by_norm",
    "clip_by_value",
    "global_norm",
    "no_decay_on_bias_and_norm",
    "parse_optimizer",
    "parse_schedule",
]
