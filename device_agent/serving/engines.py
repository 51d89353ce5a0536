"""Opens models as this box serves them: so many threads, and the provider that was measured best.

``prepare`` measures and may take a minute: it runs before a model is switched to and before the
local endpoint opens. ``open`` only looks up what is known: no request ever waits for a measuring.
"""

from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import MANIFEST, Manifest
from device_agent.machine.profile import Probed
from device_agent.serving import providers
from device_agent.serving.providers import Choice, ChoiceFile, TakeTime
from device_agent.serving.runtime import CPU, FallingBackSession, Session, open_session

log = structlog.get_logger()
_MOST_THREADS = 4
_SHARE_OF_CAP = 2


def threads_for(asked: int | None, cores: int) -> int:
    """Return the threads of one prediction: what was asked, else half the cores, at most four.

    Two predictions run at once, so each gets half of the box. On two cores a second thread made
    none of the starter models faster and cost up to a third of the predictions per second.
    """
    return asked or max(1, min(cores // 2, _MOST_THREADS))


@dataclass(frozen=True, kw_only=True)
class Engines:
    """``asked`` is ``auto``, ``cpu`` or a provider; ``ram_cap_bytes`` the operator's cap."""

    paths: StatePaths
    threads: int
    asked: str = "auto"
    ram_cap_bytes: int | None = None

    def prepare(
        self, model: Path, manifest: Manifest, take_time: TakeTime | None = None
    ) -> Choice | None:
        """Measure where there is something to choose and it was not done; return the choice."""
        names = self._candidates()
        if not names:
            return None
        known = self._known(manifest)
        if known is not None:
            return known
        limit = None if self.ram_cap_bytes is None else self.ram_cap_bytes // _SHARE_OF_CAP
        choice = providers.measure(names, take_time or self._taker(model, manifest), limit)
        log.info("provider_chosen", provider=choice.provider, why=choice.why)
        self._file().put(self._key(manifest), choice)
        return choice

    def open(self, model: Path) -> Session:
        """Open ``model`` (on the shelf) by the provider chosen for it; the CPU where none was."""
        provider = self._provider(model)
        if provider == CPU:
            return self._on_cpu(model)
        try:
            session = open_session(model, self.threads, provider)
        except Exception as exc:  # noqa: BLE001 - whatever a driver raises: the CPU serves then
            log.warning("provider_failed", provider=provider, reason=str(exc)[:300])
            return self._on_cpu(model)
        return FallingBackSession(session, lambda: self._on_cpu(model), provider)

    def _on_cpu(self, model: Path) -> Session:
        return open_session(model, self.threads)

    def _provider(self, model: Path) -> str:
        if not self._candidates():
            return CPU
        try:
            manifest = Manifest.model_validate_json(model.with_name(MANIFEST).read_bytes())
        except (OSError, ValidationError):
            return CPU
        known = self._known(manifest)
        return CPU if known is None else known.provider

    def _taker(self, model: Path, manifest: Manifest) -> TakeTime:
        numbers = (manifest.input_px, manifest.in_channels, len(manifest.classes))
        return lambda name: providers.time_in_child(model, numbers, self.threads, name)

    def _known(self, manifest: Manifest) -> Choice | None:
        return self._file().get(self._key(manifest))

    def _file(self) -> ChoiceFile:
        return ChoiceFile(self.paths.root / "providers.json")

    def _key(self, manifest: Manifest) -> str:
        probe = self._probe()
        facts = (probe.key, probe.providers, probe.versions) if probe else ()
        return providers.key_of(manifest.sha256, self.threads, self.asked, *facts)

    def _candidates(self) -> tuple[str, ...]:
        probe = self._probe()
        return providers.candidates(self.asked, probe.providers if probe else ())

    def _probe(self) -> Probed | None:
        """Return what the measuring child said of this box; importing onnxruntime would cost."""
        try:
            return Probed.model_validate_json(self.paths.probe.read_bytes())
        except (OSError, ValidationError):
            return None
