"""Whether the images look like those that the release was trained on. Pure.

For each statistic: the population stability index (``device_agent.stability``) of the images
against the training images over ten bins. With few images it is large by chance alone:
under no change it is spread like a chi-square with 9 degrees of freedom times 1/n + 1/m (Yurdakul
2018), so a shift is only called one when it passes both 0.25 and what chance gives once in twenty
looks at all statistics.

The index is large, too, where the images are merely *narrower* than the training images, as those
of one board always are. That harms nothing. So it is told apart: ``outside_share`` is what lies
beyond the 1st and 99th percentile of training, where the network has hardly been.
"""

from collections.abc import Mapping, Sequence

from contract.base import Message
from contract.reference import DEFINITION, ReferenceStatistics, StatisticSpread
from device_agent import stability

MUCH_OUTSIDE = 0.1
"""Of the images beyond what training has shown; 0.02 is usual."""
_CHI_SQUARE_9 = {1: 16.92, 8: 22.98}
"""Quantiles at 1 - 0.05 / k, for the largest of k statistics."""


class StatisticShift(Message):
    """One statistic: its index, and the share of images outside 98 % of the training images."""

    name: str
    index: float
    outside_share: float


class Shift(Message):
    """All statistics, the worst first. ``by_chance`` is what the worst may reach without cause."""

    n: int
    by_chance: float
    statistics: tuple[StatisticShift, ...]

    @property
    def worst(self) -> StatisticShift:
        return self.statistics[0]

    @property
    def is_shifted(self) -> bool:
        """Whether the worst passes both the rule of thumb and what chance gives."""
        return self.worst.index > max(stability.UNLIKE, self.by_chance)

    @property
    def furthest(self) -> StatisticShift | None:
        """The statistic by which most images lie outside; None where it is not much."""
        most = max(self.statistics, key=lambda each: each.outside_share)
        return most if most.outside_share > MUCH_OUTSIDE and self.is_shifted else None


def shift_of(
    values: Mapping[str, Sequence[float]], reference: ReferenceStatistics | None
) -> Shift | None:
    """Hold ``values`` by statistic against the reference; None where there is nothing to hold."""
    if reference is None or reference.definition != DEFINITION:
        return None
    known = [s for s in reference.statistics if values.get(s.name)]
    if not known:
        return None
    n = min(len(values[spread.name]) for spread in known)
    found = [_statistic(spread, values[spread.name], reference.n) for spread in known]
    ordered = sorted(found, key=lambda each: (-each.index, each.name))
    chance = _CHI_SQUARE_9[1 if len(known) == 1 else 8] * (1 / n + 1 / reference.n)
    return Shift(n=n, by_chance=chance, statistics=tuple(ordered))


def _statistic(spread: StatisticSpread, values: Sequence[float], n_known: int) -> StatisticShift:
    low, high = spread.edges[0], spread.edges[-1]
    outside = sum(not low <= value <= high for value in values) / len(values)
    index = stability_index(spread, values, n_known)
    return StatisticShift(name=spread.name, index=index, outside_share=outside)


def stability_index(spread: StatisticSpread, values: Sequence[float], n_known: int) -> float:
    """Return the PSI of ``values`` against ``spread`` of ``n_known`` images; 0 when alike."""
    known = [share * n_known for share in spread.shares]
    return stability.stability_index(stability.binned(values, spread.edges[1:-1]), known)
