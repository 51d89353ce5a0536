"""``python -m app``: the same as the ``paretofleet`` command."""

from app.cli import main

main()
