"""Quantization: numeric formats and the algorithms that choose their parameters."""

__all__: list[str] = []
