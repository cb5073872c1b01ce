"""Data: files of any supported form -> arrays in memory, in training, validation and test splits.

First stage of the pipeline; `train` takes its batches from here. Reading order: load.py (the
entrance), places.py and download.py (finding), sources/ (one file for each form), images.py and
pictures.py (pictures), table.py and dates.py (tables), split.py, duplicates.py and assemble.py
(dealing), dataset.py (the result), normalizer.py (scaling), augment.py (changes to training
pictures), corrupt.py (what a net has to undo), words.py (how both are written), views.py (a
picture judged several times), encoders.py (new data for prediction).
"""

from kiso.data.augment import Augment
from kiso.data.corrupt import Corrupt
from kiso.data.dataset import Dataset, Splits
from kiso.data.encoders import Encoded, Encoder, ImageEncoder, TableEncoder, encoder_from_json
from kiso.data.load import load
from kiso.data.normalizer import Normalizer
from kiso.data.places import NAMES
from kiso.data.split import batches, order
from kiso.data.views import Views

__all__ = [
    "NAMES",
    "Augment",
    "Corrupt",
    "Dataset",
    "Encoded",
    "Encoder",
    "ImageEncoder",
    "Normalizer",
    "Splits",
    "TableEncoder",
    "Views",
    "batches",
    "encoder_from_json",
    "load",
    "order",
]
