"""Looks at a folder of images before anything trains on it.

``request`` and ``verdict`` are light and may be imported anywhere. The rest needs numpy or Pillow
and is loaded by ``device_agent check`` and by the child that an agent starts (``__main__``), never
by an idle agent.
"""
