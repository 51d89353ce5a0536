"""Bad company: ``python -m bench.capped.hostile BYTES MARKER JOB`` becomes the fine-tune program.

Before it does, it leaves a grandchild in the trainer's session that fills BYTES within a second: at
the first start after MARKER was removed alone, so that a smaller micro-batch has peace.
"""

import os
import sys
import time
from pathlib import Path

_PIECES = 60
_PAUSE_S = 0.01
_COMMAND = (sys.executable, "-m", "models", "finetune")


def take(n_bytes: int) -> None:
    """Hold ``n_bytes``, filled piece by piece, for a minute."""
    held = []
    for _ in range(_PIECES):
        held.append(b"x" * (n_bytes // _PIECES))
        time.sleep(_PAUSE_S)
    time.sleep(60)


def main(arguments: list[str]) -> None:
    """Fork once if it is the first start, then become the trainer."""
    n_bytes, marker, job = int(arguments[0]), Path(arguments[1]), arguments[2]
    if not marker.exists():
        marker.touch()
        if os.fork() == 0:
            take(n_bytes)
            os._exit(0)
    os.execv(_COMMAND[0], [*_COMMAND, job])  # noqa: S606 - the very point of this program


if __name__ == "__main__":
    main(sys.argv[1:])
