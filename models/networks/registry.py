"""The networks that have names: a literal table from name to spec.

It holds the four of the paper and horizontal reductions of its optimised Xception: narrower
stages, 1x1 instead of 3x3 where two convolutions follow one another, fewer middle blocks, each
squeezed to half its width, a 1x1 exit shortcut, smaller images. A reduction is called
``rx-WIDTH-PX``. Reductions have two classes; for other heads copy the spec with another
``head_units``. Accuracy and cost are measured elsewhere; nothing here promises any.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from contract.architecture import (
    ArchitectureSpec,
    EfficientNetV2Spec,
    Kernel,
    MobileNetV2Spec,
    Width,
    XceptionSpec,
    spec_hash,
)

Entry = tuple[str, ArchitectureSpec]


class DuplicateNetworkError(ValueError):
    """One name for two networks, or one network under two names."""

    def __init__(self, first: str, second: str) -> None:
        self.names = (first, second)
        super().__init__(f"{first!r} and {second!r} clash: give each network one name of its own")


class UnknownNetworkError(KeyError):
    """A name that is not in the table."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(name)

    def __str__(self) -> str:
        return f"no network is called {self.name!r}; choose one of: {', '.join(self.known)}"


def as_table(entries: Iterable[Entry]) -> Mapping[str, ArchitectureSpec]:
    """Return the entries as a read-only table; raise DuplicateNetworkError on any clash."""
    table: dict[str, ArchitectureSpec] = {}
    names: dict[str, str] = {}
    for name, spec in entries:
        if name in table:
            raise DuplicateNetworkError(name, name)
        twin = names.setdefault(spec_hash(spec), name)
        if twin != name:
            raise DuplicateNetworkError(twin, name)
        table[name] = spec
    return MappingProxyType(table)


def network_spec(name: str) -> ArchitectureSpec:
    """Return the spec of that name; raise UnknownNetworkError if the table lacks it."""
    if name not in NETWORKS:
        raise UnknownNetworkError(name, NETWORKS)
    return NETWORKS[name]


def _optimised(*, exit_shortcut_kernel: Kernel) -> XceptionSpec:
    return XceptionSpec(
        input_px=224,
        head_units=1,
        dropout=0.2,
        stem_padding="same",
        entry_widths=(128, 256, 512),
        entry_kernels=(1, 3),
        middle_depth=8,
        middle_widths=(256, 512, 512),
        middle_kernels=(1, 1, 3),
        exit_widths=(728, 1024),
        exit_kernels=(1, 3),
        exit_shortcut_kernel=exit_shortcut_kernel,
        shortcut_batchnorm=False,
        conv_bias=True,
    )


def _reduction(
    input_px: int,
    *,
    stem: tuple[Width, Width],
    entry: tuple[Width, ...],
    middle_depth: int,
    exits: tuple[Width, Width],
    tail: tuple[Width, ...],
) -> XceptionSpec:
    """Return a two-class reduction: kernels of the optimised network, no biases, 1x1 shortcuts.

    Features are mean plus maximum: the defects are small, and a mean alone drowns them.
    """
    return XceptionSpec(
        input_px=input_px,
        head_units=2,
        dropout=0.2,
        stem_widths=stem,
        stem_padding="same",
        entry_widths=entry,
        entry_kernels=(1, 3),
        middle_depth=middle_depth,
        middle_widths=(entry[-1] // 2, entry[-1], entry[-1]),
        middle_kernels=(1, 1, 3),
        exit_widths=exits,
        exit_kernels=(1, 3),
        head_pool="average_max",
        tail_widths=tail,
    )


NETWORKS: Mapping[str, ArchitectureSpec] = as_table(
    (
        # Chollet 2017: 20.9 M parameters
        ("xception", XceptionSpec(input_px=299, head_units=1)),
        # Mih et al. 2024: 15.6 M
        ("xception-optimised", _optimised(exit_shortcut_kernel=3)),
        # The same without its most expensive layer, the 3x3 exit shortcut: 11.4 M
        ("xception-optimised-1x1", _optimised(exit_shortcut_kernel=1)),
        # The two light networks of the paper: 6.9 M and 2.3 M
        ("efficientnetv2-b1", EfficientNetV2Spec(input_px=240, head_units=1)),
        ("mobilenetv2", MobileNetV2Spec(input_px=224, head_units=1)),
        # 0.04 M, no middle flow: the floor, for a box with next to no memory
        (
            "rx-2xs-064",
            _reduction(
                64, stem=(12, 24), entry=(32, 48), middle_depth=0, exits=(48, 80), tail=(128,)
            ),
        ),
        # 0.07 M: the smallest with a middle flow
        (
            "rx-xs-064",
            _reduction(
                64, stem=(12, 24), entry=(32, 64), middle_depth=2, exits=(64, 96), tail=(160,)
            ),
        ),
        # 0.10 M: more pixels for defects of a few pixels; two entry blocks keep 12x12 positions
        (
            "rx-xs-096",
            _reduction(
                96, stem=(12, 24), entry=(40, 80), middle_depth=2, exits=(80, 112), tail=(192,)
            ),
        ),
        # 0.15 M: more pixels still, a third entry block to afford them
        (
            "rx-s-128",
            _reduction(
                128, stem=(12, 24), entry=(32, 64, 96), middle_depth=2, exits=(96, 144), tail=(224,)
            ),
        ),
        # 0.23 M: wider than the one before, on fewer pixels
        (
            "rx-m-096",
            _reduction(
                96, stem=(16, 32), entry=(48, 112), middle_depth=3, exits=(112, 176), tail=(288,)
            ),
        ),
        # 0.36 M: wide and 128 pixels
        (
            "rx-m-128",
            _reduction(
                128,
                stem=(16, 32),
                entry=(48, 80, 144),
                middle_depth=3,
                exits=(144, 208),
                tail=(320,),
            ),
        ),
        # The same network on 192 pixels: what resolution alone buys
        (
            "rx-m-192",
            _reduction(
                192,
                stem=(16, 32),
                entry=(48, 80, 144),
                middle_depth=3,
                exits=(144, 208),
                tail=(320,),
            ),
        ),
        # 0.50 M: wide where the picture is large, for small defects on a box with memory to spare
        (
            "rx-l-224",
            _reduction(
                224,
                stem=(24, 48),
                entry=(64, 112, 160),
                middle_depth=4,
                exits=(160, 224),
                tail=(320,),
            ),
        ),
        # 1.0 M, 3.1 M, 8.0 M at the paper's image size: from here to the optimised network
        (
            "rx-xl-224",
            _reduction(
                224,
                stem=(24, 48),
                entry=(64, 128, 224),
                middle_depth=4,
                exits=(224, 352),
                tail=(512,),
            ),
        ),
        (
            "rx-2xl-224",
            _reduction(
                224,
                stem=(32, 64),
                entry=(96, 192, 320),
                middle_depth=4,
                exits=(320, 576),
                tail=(896, 1024),
            ),
        ),
        (
            "rx-3xl-224",
            _reduction(
                224,
                stem=(32, 64),
                entry=(128, 256, 480),
                middle_depth=6,
                exits=(512, 832),
                tail=(1280, 1792),
            ),
        ),
    )
)

# The networks of the first release: together 1.5 M parameters, 64 to 224 pixels
STARTER: tuple[str, ...] = (
    "rx-2xs-064",
    "rx-xs-096",
    "rx-s-128",
    "rx-m-128",
    "rx-m-192",
    "rx-l-224",
)
