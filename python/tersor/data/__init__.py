"""Data sets, preprocessing and calibration batches."""

from .calibration import calibration_batches
from .dataset import Dataset
from .error import DataError
from .load import as_dataset, load
from .preprocess import Preprocess

__all__ = [
    "DataError",
    "Dataset",
    "Preprocess",
    "as_dataset",
    "calibration_batches",
    "load",
]
