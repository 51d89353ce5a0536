"""What a running agent offers to the line: the local endpoint and the watched folder.

Both ask one predictor, so a model is in memory once. Accelerators are measured beside them: what is
chosen serves from the next prediction on, and none waits for the measuring.
"""

import threading
from pathlib import Path
from typing import Any

import structlog

from device_agent.assemble import make_engines, make_predictor
from device_agent.disk.files import named_disk_errors
from device_agent.disk.shelf import MODEL
from device_agent.errors import AgentError
from device_agent.loop.agent import Agent
from device_agent.loop.world import World
from device_agent.serving.engines import Engines
from device_agent.serving.predict import Predictor
from device_agent.serving.runtime import CPU
from device_agent.serving.serve import LocalServer
from device_agent.serving.watch_folder import FolderWatch, WatchThread

log = structlog.get_logger()


class Services:
    """Raises BadAddressError for a port that is taken, StateError for a folder that cannot be."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        box, settings = agent.box, agent.box.settings
        self._wanted = settings.serve_port is not None or settings.watch_folder is not None
        self._predictor = make_predictor(
            box.store, lambda: agent.state.desired, settings, agent.window
        )
        folder = settings.watch_folder
        self._watch = None if folder is None else self._watcher(folder, sort=settings.watch_sort)
        self.desk = None if settings.serve_port is None else self._desk(settings.serve_port)

    def _desk(self, port: int) -> LocalServer:
        agent, box = self._agent, self._agent.box

        def status() -> dict[str, Any]:
            return {"step": agent.state.step, "active": box.shelf.active_id()}

        return LocalServer(port, self._predictor, agent.window.note, status)

    def _watcher(self, folder: Path, *, sort: bool) -> WatchThread:
        with named_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        window = self._agent.window
        watch = FolderWatch(folder, self._predictor.predict, window.note, sort=sort)
        # A clock of its own: the agent's waits give its service manager signs of life.
        return WatchThread(watch, World(stop=self._agent.box.world.stop))

    def start(self) -> None:
        settings = self._agent.box.settings
        if self._wanted:
            engines = make_engines(settings, self._agent.box.paths)
            threading.Thread(target=self._measure, args=(engines,), daemon=True).start()
        if self.desk is not None:
            self.desk.start()
            log.info("serving", port=self.desk.port)
        if self._watch is not None:
            self._watch.start()
            log.info("watching", folder=str(settings.watch_folder))

    def _measure(self, engines: Engines) -> None:
        measure_active(self._agent, self._predictor, engines)

    def close(self, *, finish: bool = False) -> None:
        """End; with ``finish`` judge first what lies in the watched folder."""
        if self.desk is not None:
            self.desk.close()
        if self._watch is not None:
            (self._watch.finish if finish else self._watch.close)()
        self._predictor.close()


def measure_active(agent: Agent, predictor: Predictor, engines: Engines) -> None:
    """Measure accelerators for the active model where that was not done, and take the best."""
    shelf = agent.box.shelf
    active = shelf.active()
    if active is None:
        return
    try:
        choice = engines.prepare(shelf.folder(active.model_id) / MODEL, active)
    except AgentError as exc:
        log.warning(exc.name, reason=str(exc), during="measuring providers")
        return
    if choice is not None and choice.provider != CPU:
        predictor.reopen()
