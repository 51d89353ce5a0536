"""GPUs and NPUs of a box, as far as the kernel and the drivers say. Nothing is initialised.

What is reported was read, never guessed: a name is the driver's, or the vendor and the number on
the bus. Memory that no driver states is None, and so is that of a chip that shares the processor's
(a Jetson, an Intel GPU); an AMD APU states what is carved out for it. That a box has an accelerator
does not say that onnxruntime can use it: ``DeviceProfile.providers`` says that.

Sources: Documentation/ABI and Documentation/accel of the Linux kernel; AMD's KFD topology
(drivers/gpu/drm/amd/amdkfd/kfd_topology.c); hailort-drivers; Google's gasket driver; Rockchip's
RKNPU driver; imx8mp.dtsi; NVIDIA's Jetson Linux developer guide.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from contract.device import Accelerator
from device_agent.machine.nvidia import Ask, Nvml, ask_nvml, nvidia_gpus
from device_agent.machine.sysfs import clean, facts, listed, numbers, read

_TIMEOUT_S = 5
_MOST = 16
_VENDORS = {"8086": "Intel", "1002": "AMD", "10DE": "NVIDIA"}
_NO_GPU = {"vgem", "vkms", "evdi", "RKNPU"}
_NPU_DRIVERS = {
    "intel_vpu": "Intel NPU",
    "amdxdna": "AMD XDNA NPU",
    "rocket": "Rockchip NPU",
    "qaic": "Qualcomm Cloud AI",
    "habanalabs": "Intel Gaudi",
    "ethosu": "Arm Ethos-U NPU",
}
_HAILO = {"1E60:2864": "Hailo-8 or 8L", "1E60:45C4": "Hailo-10H"}
_CORAL_USB = {("1a6e", "089a"), ("18d1", "9302")}
_DEVICE_MEMORY = {1, 2}  # heap types of a KFD memory bank: frame buffer, public and private


def ask_program(command: tuple[str, ...]) -> str | None:
    """Return a program's output; None when it is absent, fails or takes over 5 s."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command found on PATH
            [program, *command[1:]], capture_output=True, timeout=_TIMEOUT_S, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def find_accelerators(
    root: Path = Path("/"), ask: Ask = ask_program, nvml: Nvml = ask_nvml
) -> tuple[Accelerator, ...]:
    """Return what is there, at most 16, the same chip never twice."""
    jetson = _jetson(root)
    nvidia = jetson or nvidia_gpus(root, ask, nvml)
    rocm, rocm_nodes = _rocm(root)
    skip = {"nvidia", "nvgpu", "gk20a", "tegra-host1x"} if nvidia else set()
    gpus = [g for node, g in _drm(root) if node not in rocm_nodes and g.driver not in skip]
    idle = [] if nvidia or rocm else _driverless(root)
    return tuple([*nvidia, *rocm, *gpus, *idle, *_npus(root)][:_MOST])


def _jetson(root: Path) -> list[Accelerator]:
    """Return a Jetson; it shares the processor's memory, so it states none of its own."""
    release = re.search(r"R(\d+).*?REVISION: ([\d.]+)", read(root / "etc/nv_tegra_release"))
    model = read(root / "proc/device-tree/model")
    chip = read(root / "proc/device-tree/compatible")
    if release is None and "jetson" not in model.lower() and "nvidia,tegra" not in chip:
        return []
    driver = f"L4T {release[1]}.{release[2]}" if release else None
    return [Accelerator(kind="jetson", name=clean(model), memory_bytes=None, driver=driver)]


def _rocm(root: Path) -> tuple[list[Accelerator], set[str]]:
    """Return AMD GPUs that the compute driver offers, and the render nodes that they are."""
    found, nodes = [], set()
    for folder in listed(root / "sys/class/kfd/kfd/topology/nodes"):
        properties = numbers(folder / "properties")
        if not properties.get("simd_count"):
            continue
        name = f"AMD {read(folder / 'name').strip()} {_gfx(properties)}"
        node = f"renderD{properties.get('drm_render_minor', 0)}"
        memory_bytes = _bank_bytes(folder) or _vram(root / "sys/class/drm" / node)
        found.append(
            Accelerator(kind="rocm", name=clean(name), memory_bytes=memory_bytes, driver="amdgpu")
        )
        nodes.add(node)
    return found, nodes


def _gfx(properties: dict[str, int]) -> str:
    """Return the target as compilers name it: 90012 is gfx90c; empty on an old kernel."""
    version = properties.get("gfx_target_version", 0)
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}" if version else ""


def _bank_bytes(node: Path) -> int:
    banks = (numbers(bank / "properties") for bank in listed(node / "mem_banks"))
    return sum(b.get("size_in_bytes", 0) for b in banks if b.get("heap_type") in _DEVICE_MEMORY)


def _drm(root: Path) -> Iterator[tuple[str, Accelerator]]:
    """Yield every render node's name and GPU."""
    for node in listed(root / "sys/class/drm"):
        known = facts(node / "device/uevent")
        driver = known.get("DRIVER")
        if not node.name.startswith("renderD") or driver is None or driver in _NO_GPU:
            continue
        gpu = Accelerator(
            kind="gpu", name=_bus_name(known), memory_bytes=_vram(node), driver=clean(driver)
        )
        yield node.name, gpu


def _bus_name(known: dict[str, str]) -> str:
    """Return vendor and number on PCI, else what the device tree calls it."""
    number = known.get("PCI_ID", "")
    vendor = _VENDORS.get(number.split(":")[0].upper(), "")
    return clean(f"{vendor} GPU {number.lower() or known.get('OF_COMPATIBLE_0', '')}")


def _vram(node: Path) -> int | None:
    """Return the memory that amdgpu calls the GPU's own; a carve-out where it is integrated."""
    total = read(node / "device/mem_info_vram_total").strip()
    return int(total) if total.isdecimal() else None


def _driverless(root: Path) -> Iterator[Accelerator]:
    """Yield GPUs on the bus that no driver has taken: there, but of no use."""
    for device in listed(root / "sys/bus/pci/devices"):
        if not read(device / "class").startswith("0x03"):
            continue
        known = facts(device / "uevent")
        vendor = known.get("PCI_ID", "").split(":")[0].upper()
        if "DRIVER" not in known and vendor in _VENDORS:
            yield Accelerator(kind="gpu", name=_bus_name(known), memory_bytes=None, driver=None)


def _npus(root: Path) -> Iterator[Accelerator]:
    for node in listed(root / "sys/class/accel"):
        driver = facts(node / "device/uevent").get("DRIVER")
        yield _npu(_NPU_DRIVERS.get(driver or "", "NPU"), driver)
    for node in listed(root / "sys/class/hailo_chardev"):
        number = facts(node / "device/uevent").get("PCI_ID", "")
        yield _npu(_HAILO.get(number, "Hailo"), _module(root, "hailo_pci"))
    for _ in listed(root / "sys/class/apex"):
        yield _npu("Coral Edge TPU", _module(root, "apex"))
    yield from _soldered(root)
    yield from _on_usb(root)


def _soldered(root: Path) -> Iterator[Accelerator]:
    """Yield NPUs on the chip whose vendor's kernel makes no class of its own for them."""
    if any(d.name.endswith(".npu") for d in listed(root / "sys/bus/platform/drivers/RKNPU")):
        said = re.search(r"v([\d.]+)", read(root / "sys/kernel/debug/rknpu/version"))
        yield _npu("Rockchip RKNPU", said[1] if said else None)
    for core in listed(root / "sys/bus/platform/drivers/etnaviv-gpu"):
        if core.name.endswith(".npu"):
            yield _npu("VeriSilicon NPU", "etnaviv")
    vivante = listed(root / "proc/device-tree/vipsi@38500000")
    if vivante and (root / "sys/class/misc/galcore").exists() and _is_okay(vivante[0].parent):
        yield _npu("VeriSilicon VIPNano-SI", _module(root, "galcore") or "galcore")
    for dsp in listed(root / "sys/class/misc"):
        if dsp.name == "fastrpc-cdsp":
            yield _npu("Qualcomm Hexagon (cdsp)", "fastrpc")


def _is_okay(node: Path) -> bool:
    """Return whether a device tree's node is enabled: its status is okay or absent."""
    return read(node / "status").strip("\0 ") in {"", "ok", "okay"}


def _on_usb(root: Path) -> Iterator[Accelerator]:
    for device in listed(root / "sys/bus/usb/devices"):
        numbers_on_bus = (read(device / "idVendor").strip(), read(device / "idProduct").strip())
        if numbers_on_bus in _CORAL_USB:
            yield _npu("Coral Edge TPU (USB)", None)


def _module(root: Path, name: str) -> str | None:
    version = read(root / "sys/module" / name / "version").strip()
    return clean(version) if version else None


def _npu(name: str, driver: str | None) -> Accelerator:
    return Accelerator(kind="npu", name=name, memory_bytes=None, driver=driver)
