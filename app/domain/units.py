"""Numbers in the words people read."""

MB = 1_000_000


def megabytes(count: float) -> str:
    """Return bytes as ``412 MB`` (one decimal below ten)."""
    value = count / MB
    return f"{value:.1f} MB" if abs(value) < 10 else f"{value:.0f} MB"  # noqa: PLR2004 - two figures suffice


def percent(fraction: float) -> str:
    """Return 0.934 as ``93.4 %``."""
    return f"{100 * fraction:.1f} %"


def milliseconds(value: float) -> str:
    """Return a latency with three significant figures."""
    return f"{value:.3g} ms"
