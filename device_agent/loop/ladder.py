"""The box's own rung of the ladder: a smaller micro-batch of the same plan. Pure.

Gradients of a step are summed over its micro-batches, so a smaller one changes the result by
rounding alone, costs no accuracy, and needs no other file: the box takes it without asking. What
comes after it (a longer frozen prefix, a smaller variant, the head alone, the cloud) is another
point, and the server's to choose.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from contract.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Rung:
    """How many images of a ``batch`` pass at a time: ``planned`` by the server, ``micro_batch``."""

    batch: int
    planned: int
    micro_batch: int

    @property
    def is_planned(self) -> bool:
        return self.micro_batch == self.planned

    @property
    def stepped_to(self) -> int | None:
        """What to remember and to report: None while the plan's own is in use."""
        return None if self.is_planned else self.micro_batch

    def least_bytes(self, workload_bytes: int) -> int:
        """Return what this rung takes at the very least, of a plan that takes ``workload_bytes``.

        A workload is a fixed part (parameters, optimiser, one pass's scratch) plus a part for each
        image; the fixed part is not known and at least 0. So this never rules out a rung that fits.
        """
        return workload_bytes * self.micro_batch // self.planned

    def below(self) -> Iterator["Rung"]:
        """Yield the smaller rungs, largest first, down to one image: ten at most."""
        size = self.micro_batch
        while size > 1:
            size = _halved(size, self.batch)
            yield replace(self, micro_batch=size)


def rung_in_use(plan: Plan, remembered: int | None) -> Rung:
    """Return where a task stands; what is remembered of another plan counts as nothing."""
    size = remembered or plan.micro_batch
    fits_plan = 1 <= size <= plan.micro_batch and plan.batch % size == 0
    return Rung(
        batch=plan.batch,
        planned=plan.micro_batch,
        micro_batch=size if fits_plan else plan.micro_batch,
    )


def _halved(size: int, batch: int) -> int:
    """Return the largest divisor of ``batch`` that is at most half of ``size`` (2 or more)."""
    return next(n for n in range(size // 2, 0, -1) if batch % n == 0)
