"""Which of a network's tensors train and which stay, given the first trainable block.

A cut names a block: that block and all after it train, all before it are frozen. The statistics
of BatchNorm never train, wherever the cut is. Nothing here changes a network.
"""

from torch import nn

from models.networks.blocks import Network

_STATISTICS = ("running_mean", "running_var")


class UnknownCutError(ValueError):
    """A cut that names no block of the network."""

    def __init__(self, cut: str, blocks: tuple[str, ...]) -> None:
        self.cut = cut
        self.blocks = blocks
        super().__init__(f"no block is called {cut!r}; choose one of: {', '.join(blocks)}")


def blocks_from(blocks: tuple[str, ...], cut: str) -> tuple[str, ...]:
    """Return the cut and the blocks after it, in order; raise UnknownCutError if there is none."""
    if cut not in blocks:
        raise UnknownCutError(cut, blocks)
    return blocks[blocks.index(cut) :]


def trainable_names(network: Network, cut: str) -> tuple[str, ...]:
    """Return the names of all parameters in the blocks from the cut on, in network order."""
    trained = set(blocks_from(network.blocks, cut))
    return tuple(name for name, _ in network.named_parameters() if _block_of(name) in trained)


def frozen_names(network: Network, cut: str) -> tuple[str, ...]:
    """Return the names of all other parameters and of all BatchNorm statistics, in network order.

    ``num_batches_tracked`` is neither trained nor frozen: nothing computes with it.
    """
    trained = set(trainable_names(network, cut))
    return tuple(name for name in _counted_names(network) if name not in trained)


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the module holds: parameters and BatchNorm statistics, as Keras."""
    state = module.state_dict()
    return sum(state[name].numel() for name in _counted_names(module))


def _counted_names(module: nn.Module) -> tuple[str, ...]:
    parameters = {name for name, _ in module.named_parameters()}
    return tuple(
        name
        for name in module.state_dict()
        if name in parameters or name.rpartition(".")[2] in _STATISTICS
    )


def _block_of(name: str) -> str:
    return name.partition(".")[0]
