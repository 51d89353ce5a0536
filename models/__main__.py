"""``python -m models COMMAND``: picks the program and loads nothing else.

``finetune``, ``floor`` and ``latency`` run on boxes under a memory cap, so they must not pay for
the lab's imports; every other command is the lab's.
"""

import sys


def main(argv: list[str]) -> int:
    """Run ``argv[0]`` with the rest and return its exit code."""
    if argv[:1] == ["finetune"]:
        from models.finetune.program import main as finetune  # noqa: PLC0415 - light by design

        return finetune(argv[1:])
    if argv[:1] == ["floor"]:
        from models.finetune.program import print_floor  # noqa: PLC0415 - light by design

        return print_floor(argv[1:])
    if argv[:1] == ["latency"]:
        from models.latency import main as latency  # noqa: PLC0415 - light by design

        return latency(argv[1:])
    from models.cli import main as lab  # noqa: PLC0415 - the lab's imports

    return lab(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
