"""The learning rate of every step: a linear warm-up, then half a cosine. Fixed, not an option.

Warm-up over the first tenth of all steps (at most 100) keeps the fresh optimiser's first updates
small; the cosine (Loshchilov and Hutter 2017, without restarts) ends at one hundredth of the
rate. A run that is cut short by ``max_steps`` follows the schedule of the whole run.
"""

import math

_WARM_UP_SHARE = 0.1
_MAX_WARM_UP_STEPS = 100
_LAST_SHARE = 0.01


def learning_rate(base: float, step: int, total: int) -> float:
    """Return the rate of step ``step`` (from 0) of ``total``; never more than ``base``."""
    warm_up = min(_MAX_WARM_UP_STEPS, math.ceil(_WARM_UP_SHARE * total))
    if step < warm_up:
        return base * (step + 1) / warm_up
    done = (step - warm_up) / max(1, total - warm_up)
    share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return base * (_LAST_SHARE + (1 - _LAST_SHARE) * share)
