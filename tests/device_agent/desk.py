"""What the tests of serving share: a shelf, models to put on it, and calls over real sockets."""

import hashlib
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from contract.desired import DesiredState
from contract.inference import Prediction
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.errors import ServerAwayError
from device_agent.serving.predict import Predictor
from device_agent.serving.serve import Bounds, LocalServer
from tests.device_agent.fleet import PX

REPOSITORY = Path(__file__).parents[2]


def make_shelf(folder: Path) -> Shelf:
    paths = StatePaths(folder)
    paths.make()
    return Shelf(paths)


def put(shelf: Shelf, name: str, content: bytes, px: int = PX, *, activate: bool = True) -> None:
    """Put a model on the shelf and, unless told otherwise, make it the active one."""
    source = shelf.folder(name).parent.parent / "source"
    source.write_bytes(content)
    shelf.install(
        source,
        Manifest(
            model_id=name, variant="xcep", classes=("ok", "defect"), input_px=px, in_channels=3,
            sha256=hashlib.sha256(content).hexdigest(), length_bytes=len(content),
            release_number=3, point_key="p", balanced_accuracy=0.9, n_test=10, data_key="d",
            artifacts=(), made_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
    )  # fmt: skip
    if activate:
        shelf.activate(name)


@cache
def red_model(px: int) -> bytes:
    """A graph that says ``defect`` of a tile in which any pixel is much more red than green.

    logits = [0, (largest red - green - 100) / 4]: a tile without red has a chance near 0, one with
    a pure red pixel near 1, whatever else is on it.
    """
    pick = numpy_helper.from_array(np.array([[1.0], [-1.0], [0.0]], np.float32), "pick")
    axes = numpy_helper.from_array(np.array([1, 2], np.int64), "axes")
    spread = numpy_helper.from_array(np.array([[0.0, 0.25]], np.float32), "spread")
    shift = numpy_helper.from_array(np.array([0.0, -25.0], np.float32), "shift")
    nodes = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "pick"], ["redness"]),
        helper.make_node("ReduceMax", ["redness", "axes"], ["features"], keepdims=0),
        helper.make_node("MatMul", ["features", "spread"], ["spread_out"]),
        helper.make_node("Add", ["spread_out", "shift"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", px, px, 3])
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 1]),
    ]
    graph = helper.make_graph(nodes, "red", [images], outputs, [pick, axes, spread, shift])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def starter_model(name: str) -> tuple[bytes, int]:
    """Return the inference graph of a variant of the starter release, and its side in pixels."""
    release = json.loads((REPOSITORY / "releases/starter/release.json").read_bytes())
    variant = next(v for v in release["variants"] if v["name"] == name)
    path = REPOSITORY / "releases/starter/files" / variant["inference"]["sha256"]
    return path.read_bytes(), int(variant["spec"]["input_px"])


def keeping_policy(*, may_leave: bool = False, action: str = "train") -> DesiredState:
    return DesiredState.model_validate(
        {
            "generation": 1, "action": action, "release_number": 1, "decision_id": None,
            "assignment": None, "accuracy_floor": 0.5, "fallback": "on_failure",
            "images_may_leave": may_leave, "why": "", "next_better": "",
        }
    )  # fmt: skip


class NoCloud:
    """Records what reaches it, and is away."""

    def __init__(self) -> None:
        self.images: list[bytes] = []

    def __call__(self, image: bytes, **_: object) -> Prediction:
        self.images.append(image)
        raise ServerAwayError("the server is away")


class Notes(list[Prediction]):
    """What the window would have counted."""

    def note(self, prediction: Prediction) -> None:
        self.append(prediction)


@contextmanager
def serving(
    predictor: Predictor, bounds: Bounds | None = None, notes: Notes | None = None
) -> Iterator[LocalServer]:
    note = Notes().note if notes is None else notes.note
    server = LocalServer(0, predictor, note, lambda: {"step": "active"}, bounds)
    server.start()
    try:
        yield server
    finally:
        server.close()


class Caller:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def raw(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, sent)
        response = self._connection.getresponse()
        return response.status, response.read(), dict(response.headers)

    def json(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, object], dict[str, str]]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        status, answer, got = self.raw(method, path, data, **headers)
        return status, json.loads(answer), got


def call(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, object], dict[str, str]]:
    with Caller(port) as caller:
        return caller.json(method, path, body, **headers)
