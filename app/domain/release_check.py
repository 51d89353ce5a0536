"""Whether a release agrees with itself: names unique, every point's variant and graph there."""

from collections import Counter
from collections.abc import Iterable, Iterator

from contract.release import Release


def contradictions(release: Release) -> tuple[str, ...]:
    """Return what is wrong with a release, in sentences; empty when it agrees with itself."""
    return (
        *_repeated("variant", [v.name for v in release.variants]),
        *_repeated("point", [p.key for p in release.points]),
        *_points(release),
    )


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"The {what} '{name}' is there {count} times; give each its own name."


def _points(release: Release) -> Iterator[str]:
    variants = {v.name: v for v in release.variants}
    for point in release.points:
        variant = variants.get(point.variant)
        if variant is None:
            yield f"Point '{point.key}' names a variant that the release does not hold."
        elif point.plan.scope.cut not in {graph.cut for graph in variant.train_graphs}:
            yield f"Point '{point.key}' trains a cut that '{variant.name}' has no graph for."
        if point.task != release.task:
            yield f"Point '{point.key}' is for another task than the release's, '{release.task}'."
