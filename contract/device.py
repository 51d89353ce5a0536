"""What a box reports of itself, and the memory that it may use."""

from typing import Annotated, Literal

from pydantic import Field

from contract.base import ByteCount, Count, Label, Labels, Message, Milliseconds, SignedBytes

BudgetTerm = Literal["operator_cap", "cgroup_limit", "available_ram"]


class Accelerator(Message):
    """A GPU or NPU that the box has; ``memory_bytes`` is None where the driver does not say."""

    kind: Label
    name: Label
    memory_bytes: ByteCount | None
    driver: Label | None


class DeviceProfile(Message):
    """A box: memory, disk, processor, accelerators, runtime, and what was measured on it.

    ``agent_bytes`` is what the agent itself occupies, allowed for in every budget: a cap is for
    the agent and its trainer together. ``runtime_floor_bytes`` is the RSS of the fine-tune child
    after its imports, measured on this box. ``benchmark_ms`` is a fixed matrix and convolution
    workload, so that boxes can be compared.
    """

    cpu: Label
    cores: Annotated[int, Field(ge=1, le=4096)]
    cpu_flags: Annotated[tuple[Label, ...], Field(max_length=256)] = ()
    ram_total_bytes: ByteCount
    ram_available_bytes: ByteCount
    swap_bytes: ByteCount
    disk_free_bytes: ByteCount
    cgroup_limit_bytes: ByteCount | None
    operator_cap_bytes: ByteCount | None
    agent_bytes: ByteCount
    runtime_floor_bytes: ByteCount | None
    benchmark_ms: Milliseconds | None
    accelerators: Annotated[tuple[Accelerator, ...], Field(max_length=16)] = ()
    providers: Annotated[tuple[Label, ...], Field(max_length=32)] = ()
    versions: Annotated[dict[Label, Label], Field(max_length=32)]
    cap_kinds: Annotated[tuple[Label, ...], Field(max_length=8)] = ()
    n_ok: Count
    n_defect: Count


class Budget(Message):
    """Bytes that a training process may occupy, and the term that bound it.

    ``terms`` holds every candidate; ``total_bytes`` is the smallest, times the policy's fraction.
    """

    total_bytes: ByteCount
    bound_by: BudgetTerm
    terms: dict[BudgetTerm, SignedBytes]


class Registration(Message):
    """The first message of a box. ``serial`` makes it idempotent: the same box registers once."""

    serial: Label
    labels: Labels = Field(default_factory=dict)
    profile: DeviceProfile


class Registered(Message):
    """The answer: the server's name for the box and the bearer token it uses from now on."""

    device_id: Label
    token: Label
