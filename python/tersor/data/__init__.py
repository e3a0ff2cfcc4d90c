"""Data sets, preprocessing and calibration batches."""

from .augment import Augment
from .calibration import calibration_batches, calibration_labels
from .dataset import Dataset
from .error import DataError
from .load import as_dataset, load
from .mixing import Mixing, Mixture
from .preprocess import Preprocess

__all__ = [
    "Augment",
    "DataError",
    "Dataset",
    "Mixing",
    "Mixture",
    "Preprocess",
    "as_dataset",
    "calibration_batches",
    "calibration_labels",
    "load",
]
