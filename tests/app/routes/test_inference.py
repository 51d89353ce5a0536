import asyncio
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from app.errors import BusyError
from app.examples import POLICY
from app.inference import Predictor
from app.store import LocalStore
from contract.inference import Prediction
from tests.app.release_maker import release
from tests.app.world import Server, assert_problem


def image(brightness: int, format_: str = "PNG", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    colour = (brightness,) * len(mode) if len(mode) > 1 else brightness
    Image.new(mode, (50, 40), colour).save(out, format_)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims these dimensions."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def infer(server: Server, content: bytes, media_type="image/png", headers=None, **query):
    return server.client.post(
        "/v1/inference",
        content=content,
        params=query,
        headers={**(headers or server.operator), "Content-Type": media_type},
    )


@pytest.mark.parametrize(
    ("content", "media_type", "label"),
    [
        (image(250), "image/png", "defect"),
        (image(5), "image/png", "ok"),
        (image(250, "JPEG"), "image/jpeg", "defect"),
        (image(250, mode="L"), "image/png", "defect"),
    ],
)
def test_an_image_is_classified_by_the_most_accurate_variant(
    server: Server, content, media_type, label
):
    answer = infer(server, content, media_type)
    assert answer.status_code == 200, answer.text
    prediction = Prediction.model_validate_json(answer.content)
    assert (prediction.label, prediction.variant) == (label, "large")
    assert (prediction.source, prediction.release_number) == ("cloud", 1)
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)


def test_a_variant_can_be_named(server: Server):
    assert infer(server, image(5), variant="small").json()["variant"] == "small"
    assert_problem(infer(server, image(5), variant="none"), 404, "not-found")


def test_a_boxs_images_come_only_where_its_policy_lets_them(server: Server):
    box = server.box(labels={"line": "3"})
    assert_problem(infer(server, image(5), headers=box.headers), 403, "images-may-not-leave")
    allow = {**POLICY, "selector": {"line": "3"}, "accuracy_floor": 0.5, "images_may_leave": True}
    server.post("/v1/policies", {"name": "open", **allow})
    assert infer(server, image(5), headers=box.headers).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", "image/png"),
        (b"not an image", "image/png"),
        (image(5)[:60], "image/png"),
        (image(5, "GIF"), "image/png"),
        (image(5), "application/json"),
        (image(5), ""),
    ],
)
def test_what_is_no_png_or_jpeg_is_refused(server: Server, content, media_type):
    assert_problem(infer(server, content, media_type), 415, "unsupported-image")


def test_too_many_pixels_are_refused_before_decoding(server: Server):
    assert_problem(infer(server, bomb(60_000, 60_000)), 413, "too-large")


def test_too_many_bytes_are_refused(server: Server):
    too_many = b"\x00" * (server.settings.max_image_bytes + 1)
    answer = infer(server, too_many)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_image_may_be_larger_than_a_json_body(server: Server):
    padded = image(5) + b"\x00" * (server.settings.max_body_bytes + 1)
    assert infer(server, padded).status_code == 200


def test_without_a_release_there_is_nothing_to_ask(empty_server: Server):
    assert_problem(infer(empty_server, image(5)), 409, "no-release")


def test_more_images_than_the_queue_holds_are_told_to_come_again(tmp_path: Path):
    made, files = release()
    store = LocalStore(tmp_path / "store")
    inference = made.variants[0].inference
    source = tmp_path / inference.sha256
    source.write_bytes(files[inference.sha256])
    store.add(source, inference)
    predictor = Predictor(store, threads=1, queue=2, max_pixels=10_000)

    async def ask_ten() -> list[object]:
        calls = [predictor.predict(image(5), made.variants[0], 1) for _ in range(10)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask_ten())
    assert sum(isinstance(a, Prediction) for a in answers) == 3
    assert sum(isinstance(a, BusyError) for a in answers) == 7
    predictor.close()
