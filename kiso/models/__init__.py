"""Ready-made nets, by function and by name. Stands on `nn`; `train` asks it for a default."""

from kiso.models.cnn import cnn, cnn_text
from kiso.models.mlp import linear_text, mlp, mlp_text, tabular, tabular_text
from kiso.models.registry import MODELS, create, default_model, describe

__all__ = ["MODELS", "cnn", "cnn_text", "create", "default_model", "describe", "linear_text", "mlp",
           "mlp_text", "tabular", "tabular_text"]
