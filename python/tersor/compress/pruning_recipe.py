"""What a recipe says about pruning, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..base.schema import check_keys
from .layer_format import check_choice

METHODS = ("second-order", "magnitude", "lamp")
REESTIMATE = ("improves", "always", "never")


@dataclass(frozen=True)
class Pruning:
    """Weights that are dropped before values are chosen; arguments of `tersor.compress.prune`.

    Parameters
    ----------
    sparsity : float, default 0.5
        Share of the weights (or blocks) of all pruned layers together, in [0, 1).
    structure : str, default "unstructured"
        Or blocks such as "1x4", or N:M such as "2:4".
    exclude : sequence of str
        Patterns on the names of nodes or of their weights.
    method : {"second-order", "magnitude", "lamp"}
    reestimate : {"improves", "always", "never"}
    samples : int, default 1024
        Used at most.
    layers : mapping of str to float
        Sparsities of layers by name, instead of one for all together; layers without one lose
        nothing. `sparsity` does not count then.

    Examples
    --------
    >>> Pruning(0.75, "1x4").to_dict()
    {'sparsity': 0.75, 'structure': '1x4'}
    """

    sparsity: float = 0.5
    structure: str = "unstructured"
    exclude: tuple[str, ...] = ()
    method: str = "second-order"
    reestimate: str = "improves"
    samples: int = 1024
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.sparsity, bool) or not isinstance(self.sparsity, (int, float)):
            raise TypeError(f"recipe pruning: sparsity must be a number, got {self.sparsity!r}")
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"recipe pruning: sparsity must be in [0, 1), got {self.sparsity}")
        if not isinstance(self.structure, str):
            raise TypeError(f"recipe pruning: structure must be text, got {self.structure!r}")
        if isinstance(self.exclude, str):
            raise TypeError(
                f"recipe pruning: exclude must be a list of patterns, got {self.exclude!r}"
            )
        object.__setattr__(self, "exclude", tuple(self.exclude))
        check_choice(self.method, METHODS, "recipe pruning method")
        check_choice(self.reestimate, REESTIMATE, "recipe pruning reestimate")
        if isinstance(self.samples, bool) or not isinstance(self.samples, int) or self.samples < 1:
            raise ValueError(
                f"recipe pruning: samples must be an integer >= 1, got {self.samples!r}"
            )
        if not isinstance(self.layers, Mapping):
            raise TypeError(f"recipe pruning: layers must be a mapping, got {self.layers!r}")
        if self.layers and self.method != "second-order":
            raise ValueError("recipe pruning: layers need method 'second-order'")
        for name, share in self.layers.items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
                raise ValueError(f"recipe pruning: layers must be in [0, 1), got {name}: {share!r}")
        object.__setattr__(self, "layers", dict(self.layers))

    @classmethod
    def parse(cls, value: Pruning | Mapping[str, Any] | None) -> Pruning | None:
        """Read any form that a recipe may give.

        Parameters
        ----------
        value : Pruning, mapping or None

        Returns
        -------
        Pruning or None

        Raises
        ------
        ValueError
            If a key is unknown or a value out of range.
        TypeError
            If a value is of a wrong type.
        """
        if value is None or isinstance(value, Pruning):
            return value
        if not isinstance(value, Mapping):
            raise TypeError(f"recipe: pruning must be a mapping, got {value!r}")
        known = tuple(f.name for f in fields(cls))
        return cls(**check_keys(value, allowed=known, what="recipe pruning"))

    @property
    def needs_samples(self) -> bool:
        """Whether samples must be given."""
        return self.method == "second-order" or self.reestimate == "always"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the sparsity, and what is not the default."""
        default = asdict(Pruning())
        plain = {k: v for k, v in asdict(self).items() if k == "sparsity" or v != default[k]}
        if "exclude" in plain:
            plain["exclude"] = list(plain["exclude"])
        return plain


__all__ = ["METHODS", "REESTIMATE", "Pruning"]
