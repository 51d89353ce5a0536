"""One command of ``device_agent`` a file; ``device_agent.cli`` puts them together."""
