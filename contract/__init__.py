"""What the three programs say to each other: values only, no I/O.

Import from the module that names the thing (``from contract.device import DeviceProfile``):
this file stays empty so that the box's fine-tune child can read ``contract.finetune``, which is
plain dataclasses, without paying pydantic's 12 MB of memory.
"""
