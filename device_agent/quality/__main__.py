"""The child that an agent starts: a request as JSON on stdin, a summary as JSON on stdout.

It pays for numpy, Pillow and onnxruntime so that the agent need not. Exit code 3 and one line on
stderr where the folder cannot be used.
"""

import sys

from device_agent.errors import DataUnusableError
from device_agent.quality.check import check
from device_agent.quality.request import CheckRequest


def main() -> int:
    """Look, and print the summary."""
    request = CheckRequest.model_validate_json(sys.stdin.buffer.read())
    try:
        quality = check(request, lambda *_: None)
    except DataUnusableError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    sys.stdout.write(quality.summary().model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
