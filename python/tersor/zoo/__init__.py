"""Networks that the package builds itself."""

from .digits import digits_preprocess, load_digits_data, load_digits_network

__all__ = ["digits_preprocess", "load_digits_data", "load_digits_network"]
