"""The Open Inference Protocol over real sockets, answered by a real model."""

import base64
import http.client
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from contract.inference import Prediction
from device_agent.serving.predict import Predictor
from tests.device_agent.conftest import image_bytes
from tests.device_agent.desk import (
    NoCloud,
    Notes,
    call,
    keeping_policy,
    make_shelf,
    put,
    serving,
    starter_model,
)
from tests.device_agent.fleet import PX, cloud_prediction, tiny_model

INFER = "/v2/models/active/infer"


@pytest.fixture
def shelf(tmp_path):
    return make_shelf(tmp_path / "state")


@pytest.fixture
def cloud():
    return NoCloud()


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def server(shelf, cloud, notes):
    put(shelf, "one", tiny_model())
    put(shelf, "two", tiny_model(bias=100.0))
    with serving(Predictor(shelf, keeping_policy, cloud), notes=notes) as server:
        yield server


def level(*levels: int, px: int = PX) -> dict[str, object]:
    pixels = [[level] * (px * px * 3) for level in levels]
    return {
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [len(levels), px, px, 3],
             "data": pixels}
        ]
    }  # fmt: skip


def files(*images: bytes) -> dict[str, object]:
    data = [base64.b64encode(image).decode() for image in images]
    tensor = {"name": "images", "datatype": "BYTES", "shape": [len(images)], "data": data}
    return {"inputs": [tensor]}


def outputs(answer: dict[str, object]) -> dict[str, object]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


def version(shelf, model_id: str) -> str:
    return shelf.manifest(model_id).sha256[:12]


def test_the_server_says_what_it_is_and_that_it_is_ready(server):
    status, about, _ = call(server.port, "GET", "/v2")

    assert status == 200
    assert about["name"] == "paretofleet"
    assert "binary_tensor_data" in about["extensions"]
    assert call(server.port, "GET", "/v2/health/live")[:2] == (200, {"live": True})
    ready = call(server.port, "GET", "/v2/health/ready")
    assert ready[:2] == (200, {"live": True, "ready": True})


def test_a_box_without_a_model_is_live_but_not_ready(shelf, cloud):
    with serving(Predictor(shelf, keeping_policy, cloud)) as server:
        status, body, headers = call(server.port, "GET", "/v2/health/ready")

        assert call(server.port, "GET", "/v2/health/live")[0] == 200
        assert (status, body["ready"], body["error"]) == (503, False, "no model is active")
        assert headers["Retry-After"] == "1"
        assert call(server.port, "GET", "/v2/models/active")[0] == 404
        assert call(server.port, "GET", "/v2/models/active/ready")[0] == 503
        assert call(server.port, "POST", INFER, level(1))[0] == 503


def test_a_model_says_its_tensors_and_versions(server, shelf):
    status, about, _ = call(server.port, "GET", "/v2/models/active")

    assert status == 200
    assert about["versions"] == [version(shelf, "two"), version(shelf, "one")]
    assert about["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert about["outputs"][0] == {
        "name": "probabilities", "datatype": "FP32", "shape": [-1, 2]
    }  # fmt: skip
    one = call(server.port, "GET", "/v2/models/one")[1]
    assert one["versions"] == [version(shelf, "one")]
    assert call(server.port, "GET", f"/v2/models/one/versions/{version(shelf, 'one')}")[1] == one


@pytest.mark.parametrize(
    "path",
    ["active/ready", "two/ready", "one/ready", "active/versions/{one}/ready",
     "one/versions/{one}/ready"],
)  # fmt: skip
def test_every_model_that_is_kept_can_be_ready(server, shelf, path):
    path = path.replace("{one}", version(shelf, "one"))
    status, body, _ = call(server.port, "GET", f"/v2/models/{path}")

    assert (status, body) == (200, {"name": path.split("/")[0], "ready": True})


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models", "/v2/models/", "/v2/models/none", "/v2/models/..%2F..%2Fetc", "/v2/else",
        "/v2/models/active/versions/1", "/v2/models/one/else", "/v2/models/one/versions/x/ready",
        "/v2/models/one/ready/more/and/more", "/v2/health", "/v2/models/.new-x",
    ],
)  # fmt: skip
def test_what_is_not_there_is_404_with_an_error(server, path):
    for method in ("GET", "POST"):
        status, body, _ = call(server.port, method, path, level(1) if method == "POST" else None)
        assert status == 404
        assert list(body) == ["error"]


def test_a_get_of_infer_is_405(server):
    assert call(server.port, "GET", INFER)[0] == 405


def test_a_batch_of_pixels_is_answered_by_the_active_model_and_counted(server, notes, shelf):
    body = level(20, 220, 20) | {"id": "7"}
    status, answer, _ = call(server.port, "POST", INFER, body)

    assert status == 200
    assert (answer["id"], answer["model_name"]) == ("7", "active")
    assert answer["model_version"] == version(shelf, "two")
    assert answer["parameters"] == {"variant": "xcep", "release_number": 3}
    assert outputs(answer)["label"] == ["ok", "ok", "ok"]
    assert [note.label for note in notes] == ["ok"] * 3


def test_a_version_and_a_models_own_name_choose_that_model(server, shelf):
    for path in ("one/infer", f"active/versions/{version(shelf, 'one')}/infer"):
        answer = call(server.port, "POST", f"/v2/models/{path}", level(20, 220))[1]

        assert outputs(answer)["label"] == ["ok", "defect"]
        assert answer["model_version"] == version(shelf, "one")


def test_pixels_of_another_size_are_stretched(server):
    answer = call(server.port, "POST", "/v2/models/one/infer", level(20, 220, px=50))[1]

    assert outputs(answer)["label"] == ["ok", "defect"]


def test_image_files_are_answered_as_predict_answers_them(server):
    image = image_bytes(131)
    with_files = call(server.port, "POST", INFER, files(image, image))[1]
    plain = call(server.port, "POST", "/predict", image)[1]

    wanted = [plain["probabilities"]["ok"], plain["probabilities"]["defect"]]
    assert outputs(with_files)["probabilities"] == pytest.approx(wanted * 2)
    assert outputs(with_files)["source"] == ["device", "device"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (files(b"no image"), "no image"),
        (level(1) | {"outputs": [{"name": "features"}]}, "no output"),
        (b"{", "JSON"),
        ({"inputs": "x"}, "inputs"),
    ],
)
def test_a_bad_request_is_400_with_an_error(server, body, reason, notes):
    status, answer, _ = call(server.port, "POST", INFER, body)

    assert status == 400
    assert reason in answer["error"]
    assert notes == []


def binary_call(port, tensor, raw, **more):
    head = json.dumps({"inputs": [{"name": "images", **tensor}], **more}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Inference-Header-Content-Length": str(len(head))}
    connection.request("POST", INFER, head + raw, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response, answer


def test_binary_tensors_go_both_ways(server):
    raw = np.full((2, PX, PX, 3), 220, np.uint8).tobytes()
    tensor = {
        "datatype": "UINT8", "shape": [2, PX, PX, 3], "parameters": {"binary_data_size": len(raw)}
    }  # fmt: skip
    response, answer = binary_call(
        server.port, tensor, raw, parameters={"binary_data_output": True},
        outputs=[{"name": "probabilities"}],
    )  # fmt: skip

    assert response.status == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    json_bytes = int(response.headers["Inference-Header-Content-Length"])
    said = json.loads(answer[:json_bytes])
    assert said["outputs"][0]["parameters"] == {"binary_data_size": 16}
    values = struct.unpack("<4f", answer[json_bytes:])
    assert sum(values) == pytest.approx(2)


def test_a_binary_image_file_is_read_and_a_wrong_header_refused(server):
    image = image_bytes(20)
    raw = struct.pack("<I", len(image)) + image
    tensor = {"datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    response, answer = binary_call(server.port, tensor, raw)

    assert response.status == 200
    assert outputs(json.loads(answer))["label"] == ["ok"]
    wrong = call(server.port, "POST", INFER, raw, Inference_Header_Content_Length="x")
    assert wrong[0] == 400
    assert "no number" in wrong[1]["error"]


class Answering(NoCloud):
    """A cloud that is there."""

    def __call__(self, image: bytes, **_: object) -> Prediction:
        self.images.append(image)
        return Prediction.model_validate(cloud_prediction())


def test_a_tensor_never_leaves_the_box_though_images_may(shelf):
    put(shelf, "one", b"this is no onnx")
    cloud = Answering()
    predictor = Predictor(shelf, lambda: keeping_policy(may_leave=True), cloud)
    with serving(predictor) as server:
        status, body, _ = call(server.port, "POST", INFER, level(1))
        by_name = call(server.port, "POST", "/v2/models/one/infer", files(image_bytes(20)))

        assert status == by_name[0] == 503
        assert "error" in body
        assert cloud.images == []


def test_image_files_go_where_the_policy_lets_them(shelf):
    put(shelf, "one", b"this is no onnx")
    for may_leave in (False, True):
        cloud = Answering()
        policy = keeping_policy(may_leave=may_leave)
        with serving(Predictor(shelf, lambda policy=policy: policy, cloud)) as server:
            status, body, _ = call(server.port, "POST", INFER, files(image_bytes(20)))

            assert status == (200 if may_leave else 503)
            assert len(cloud.images) == may_leave
            if may_leave:
                assert outputs(body)["source"] == ["cloud"]
                assert "model_version" not in body


def test_a_starter_model_answers_the_same_by_pixels_by_files_and_by_predict(shelf, cloud):
    content, px = starter_model("rx-2xs-064")
    put(shelf, "starter", content, px)
    pixels = np.random.default_rng(0).integers(0, 256, (5, px, px, 3), dtype=np.uint8)
    with serving(Predictor(shelf, keeping_policy, cloud)) as server:
        tensor = {"name": "images", "datatype": "UINT8", "shape": [5, px, px, 3]}
        body = {"inputs": [tensor | {"data": pixels.reshape(-1).tolist()}]}
        by_pixels = outputs(call(server.port, "POST", INFER, body)[1])
        images = [png_of(tile) for tile in pixels]
        by_files = outputs(call(server.port, "POST", INFER, files(*images))[1])
        plain = [call(server.port, "POST", "/predict", image)[1] for image in images]

    wanted = [chance for answer in plain for chance in answer["probabilities"].values()]
    assert by_pixels["probabilities"] == pytest.approx(wanted, abs=1e-4)
    assert by_files["probabilities"] == pytest.approx(wanted, abs=1e-6)
    assert len({round(chance, 4) for chance in wanted}) > 2


def png_of(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
