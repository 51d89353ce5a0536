"""The agent under systemd."""
