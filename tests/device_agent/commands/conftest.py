"""A box that has run and stopped, for the commands that look at one."""

from tests.device_agent.finished import finished_box, stopped_box

__all__ = ["finished_box", "stopped_box"]
