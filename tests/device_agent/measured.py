"""A state folder in which this machine is measured already: the measuring child takes seconds."""

from pathlib import Path

from device_agent.disk.paths import StatePaths
from device_agent.machine.profile import Probed, cpu_facts, probe_key


def measured_folder(folder: Path, floor_bytes: int = 50_000_000) -> Path:
    paths = StatePaths(folder)
    folder.mkdir(parents=True, exist_ok=True)
    cpu, _ = cpu_facts(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    known = Probed(
        key=probe_key(cpu), runtime_floor_bytes=floor_bytes, benchmark_ms=10.0, providers=(),
        versions={},
    )  # fmt: skip
    paths.probe.write_text(known.model_dump_json(), encoding="utf-8")
    return folder
