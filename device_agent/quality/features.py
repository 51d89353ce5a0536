"""What the released network makes of an image: its features, averaged over flips and turns.

The release's own weights are used, never a model that was fine-tuned on this box: that one has
seen the labels that are to be judged.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from device_agent.serving.images import decode
from device_agent.serving.runtime import open_session

Features = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

MOST_PIXELS = 4000 * 128 * 128
"""What the network looks at in all: about five seconds of a middling one, on one core."""
ORIENTATIONS = 8


def views_for(n_images: int, input_px: int) -> int:
    """Return in how many orientations each image is looked at: all 8 if that is not too much."""
    once = max(n_images, 1) * input_px**2
    return max(1, min(ORIENTATIONS, MOST_PIXELS // once))


class Embedder:
    """One network, loaded once; one image and one orientation in memory at a time."""

    def __init__(self, model: Path, input_px: int, channels: int, views: int) -> None:
        self._session = open_session(model)
        self._px, self._channels, self._views = input_px, channels, views

    def features(self, data: bytes) -> Features:
        """Return mean and standard deviation of the features over the orientations, [2 D]."""
        image = decode(data, self._px, self._channels)[0]
        seen = [self._run(view) for view in orientations(image)[: self._views]]
        return np.concatenate([np.mean(seen, axis=0), np.std(seen, axis=0)])

    def _run(self, view: Pixels) -> Features:
        feeds = {"images": np.ascontiguousarray(view)[None]}
        answer: Features = np.asarray(self._session.run(["features"], feeds)[0][0], np.float32)
        return answer


def orientations(image: Pixels) -> list[Pixels]:
    """Return [px, px, C] flipped and turned, the upright one first."""
    turned = image.transpose(1, 0, 2)
    upright = (image, image[:, ::-1], image[::-1], image[::-1, ::-1])
    return [*upright, turned, turned[:, ::-1], turned[::-1], turned[::-1, ::-1]]
