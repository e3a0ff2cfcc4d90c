"""The ``.tersor`` file: one checked file that holds a compressed network."""

from .artifact import content_hash, decode, encode, inspect, load, load_tensors, save
from .storage import storage

__all__ = [
    "content_hash",
    "decode",
    "encode",
    "inspect",
    "load",
    "load_tensors",
    "save",
    "storage",
]
