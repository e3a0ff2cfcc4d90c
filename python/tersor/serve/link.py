"""A modelled network connection between a device and a server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.units import parse_bytes, parse_quantity, parse_share

# Attempts before a request counts as never answered: the chance is loss^6.
_ATTEMPTS = 6


@dataclass(frozen=True, init=False)
class Link:
    """A connection: every time that it gives is modelled.

    A request takes a round trip, drawn from a lognormal distribution (never negative, a long tail)
    of the given mean and standard deviation, plus its bytes over the bandwidth. With probability
    `loss` request or answer are lost; the device sends again after `retry_after`, and waits twice
    as long each time (RFC 6298, section 5.5), six times at most.

    Parameters
    ----------
    round_trip : float or str
        Mean, such as ``"30 ms"``; a number is seconds.
    jitter : float or str
        Standard deviation of the round trip.
    loss : float or str
        Share of requests that go unanswered, in [0, 1).
    bandwidth : float or str, optional
        Of the slower direction, such as ``"1 MB/s"`` (bytes); None does not limit.
    retry_after : float or str
        Seconds before the first repetition. TCP waits 200 ms at least on Linux, 1 s in RFC 6298.

    Raises
    ------
    ValueError
        If a quantity cannot be read, or is out of range.

    Examples
    --------
    >>> Link("30 ms", loss="1 %")
    Link(round_trip_s=0.03, jitter_s=0.0, loss=0.01, bandwidth=None, retry_after_s=0.2)
    """

    round_trip_s: float
    jitter_s: float
    loss: float
    bandwidth: float | None
    retry_after_s: float

    def __init__(
        self,
        round_trip: float | str,
        *,
        jitter: float | str = 0.0,
        loss: float | str = 0.0,
        bandwidth: float | str | None = None,
        retry_after: float | str = "200 ms",
    ) -> None:
        seconds = {
            "round_trip_s": parse_quantity(round_trip, "s", what="Link: round_trip"),
            "jitter_s": parse_quantity(jitter, "s", what="Link: jitter"),
            "retry_after_s": parse_quantity(retry_after, "s", what="Link: retry_after"),
        }
        share = parse_share(loss, what="Link: loss")
        if share >= 1:
            raise ValueError(f"Link: loss must be below 1, got {loss!r}")
        rate = None if bandwidth is None else parse_quantity(bandwidth, "B/s", what="Link: rate")
        if rate == 0:
            raise ValueError("Link: bandwidth must be above 0, got 0")
        if seconds["jitter_s"] > 0 and seconds["round_trip_s"] == 0:
            raise ValueError("Link: jitter must be 0 where round_trip is 0")
        for name, value in {**seconds, "loss": share, "bandwidth": rate}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def parse(cls, link: Link | float | str) -> Link:
        """Return a link, or one of a round trip alone.

        Parameters
        ----------
        link : Link, float or str

        Returns
        -------
        Link
        """
        return link if isinstance(link, Link) else cls(link)

    def draw(
        self, random: np.random.Generator, count: int, request_bytes: float | str = 0
    ) -> NDArray[np.float64]:
        """Return modelled times from sending a request to having its answer.

        Parameters
        ----------
        random : numpy.random.Generator
        count : int
        request_bytes : int or str
            Of request and answer together.

        Returns
        -------
        ndarray of float64, shape (count,)
            Seconds, without the server's own time; infinite where all attempts are lost.
        """
        size = parse_bytes(request_bytes, what="Link: request_bytes")
        times = self._round_trips(random, count)
        if self.bandwidth is not None:
            times = times + size / self.bandwidth
        if self.loss:
            # Attempts that are lost before one is answered: geometric.
            lost = random.geometric(1 - self.loss, count) - 1
            waits = self.retry_after_s * (2.0 ** np.minimum(lost, _ATTEMPTS) - 1)
            times = np.where(lost >= _ATTEMPTS, math.inf, times + waits)
        return np.asarray(times)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain data.

        Returns
        -------
        dict
        """
        names = ("round_trip_s", "jitter_s", "loss", "bandwidth", "retry_after_s")
        return {name: getattr(self, name) for name in names}

    def _round_trips(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        if self.jitter_s == 0:
            return np.full(count, self.round_trip_s)
        # Mean and variance of a lognormal distribution, solved for those of its logarithm.
        variance = math.log1p((self.jitter_s / self.round_trip_s) ** 2)
        return random.lognormal(
            math.log(self.round_trip_s) - variance / 2, math.sqrt(variance), count
        )


__all__ = ["Link"]
