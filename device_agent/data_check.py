"""Whether the box has images to train on, and why not. It reads names, never an image."""

from contract.device import DeviceProfile
from device_agent.box import Box
from device_agent.errors import DataUnusableError
from device_agent.profile import count_images


def require_images(box: Box, profile: DeviceProfile) -> None:
    """Raise DataUnusableError when the folder cannot be used or a class has no images."""
    trouble = data_trouble(box, profile)
    if trouble is not None:
        raise trouble
    empty = [n for n, count in (("ok", profile.n_ok), ("defect", profile.n_defect)) if count == 0]
    if box.settings.data is None or empty:
        where = box.settings.data or "--data"
        message = f"{where} holds no images of {' or '.join(empty) or 'any class'}; put some there"
        raise DataUnusableError(message)


def data_trouble(box: Box, profile: DeviceProfile) -> DataUnusableError | None:
    """Return why no image was counted, where the folder of images cannot be used."""
    if profile.n_ok or profile.n_defect:
        return None
    try:
        count_images(box.settings.data)
    except DataUnusableError as exc:
        return exc
    return None
