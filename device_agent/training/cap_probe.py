"""Which kinds of memory cap this box offers, found by trying."""

from pathlib import Path

from device_agent.training.caps import RLIMIT, WATCHDOG
from device_agent.training.confine import confine
from device_agent.training.scope import FindScopes, find_scopes

_ANY_LIMIT_BYTES = 1 << 28


def probe_cap_kinds(root: Path = Path("/"), scopes: FindScopes = find_scopes) -> tuple[str, ...]:
    """Return the kinds in force for a trainer here, strongest first."""
    confinement = confine(_ANY_LIMIT_BYTES, root, scopes)
    confinement.remove()
    outer = () if confinement.kind is None else (confinement.kind,)
    return (*outer, RLIMIT, WATCHDOG)
