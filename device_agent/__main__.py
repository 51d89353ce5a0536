"""``python -m device_agent``: the same program as the ``device_agent`` console script."""

from device_agent.cli import main

if __name__ == "__main__":
    main()
