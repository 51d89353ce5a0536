"""How long to wait before calling a server again: full jitter, so that a fleet spreads out.

Source: "Exponential backoff and jitter", AWS Architecture Blog, 2015.
"""

from random import Random

_BASE_S = 1.0
_CAP_S = 300.0
_LONGEST_RETRY_AFTER_S = 3600.0
_JITTER = 0.1


def backoff_s(failures: int, chance: Random) -> float:
    """Return seconds to wait after ``failures`` (>= 1) failed calls in a row."""
    ceiling = min(_CAP_S, _BASE_S * 2 ** min(failures, 16))
    return chance.uniform(_BASE_S / 2, ceiling)


def told_wait_s(seconds: float, chance: Random) -> float:
    """Return the wait that the server asked for, bounded and a little later at random."""
    bounded = min(max(seconds, 1.0), _LONGEST_RETRY_AFTER_S)
    return bounded * (1 + chance.uniform(0, _JITTER))
