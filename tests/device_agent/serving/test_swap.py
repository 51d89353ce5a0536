"""A model is swapped under clients that ask without pause: a whole model answers every request."""

import base64
import json
import threading

import pytest

from device_agent.disk.shelf import Shelf
from device_agent.serving.predict import Predictor
from device_agent.serving.serve import Bounds
from tests.device_agent.conftest import image_bytes
from tests.device_agent.desk import Caller, NoCloud, keeping_policy, make_shelf, put, serving
from tests.device_agent.fleet import tiny_model

IMAGE = image_bytes(131)
_FILE = {
    "name": "images", "datatype": "BYTES", "shape": [1],
    "data": [base64.b64encode(IMAGE).decode()],
}  # fmt: skip
REQUESTS = {
    "/predict": IMAGE,
    "/v2/models/active/infer": json.dumps({"inputs": [_FILE]}).encode(),
}
N_SWAPS = 50


class Client(threading.Thread):
    """Asks over one connection that it keeps alive, until told to end."""

    def __init__(self, port: int, path: str, end: threading.Event) -> None:
        super().__init__()
        self.path, self._port, self._end = path, port, end
        self.answers: list[tuple[int, dict[str, object]]] = []
        self.trouble: Exception | None = None
        self.answered = threading.Semaphore(0)

    def run(self) -> None:
        try:
            with Caller(self._port) as caller:
                while not self._end.is_set():
                    status, body, _ = caller.json("POST", self.path, REQUESTS[self.path])
                    self.answers.append((status, body))
                    self.answered.release()
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            self.trouble = exc
            self.answered.release()

    def chance(self, body: dict[str, object]) -> float:
        if self.path == "/predict":
            return body["probabilities"]["defect"]
        return body["outputs"][0]["data"][1]


def hammer(shelf: Shelf, swap, n_clients: int = 4) -> list[Client]:
    """Ask without pause while ``swap(n)`` is called; every client is heard after every swap."""
    end = threading.Event()
    predictor = Predictor(shelf, keeping_policy, NoCloud())
    with serving(predictor, Bounds(at_once=n_clients, patience_s=20.0)) as server:
        paths = list(REQUESTS) * (n_clients // 2)
        clients = [Client(server.port, path, end) for path in paths]
        for client in clients:
            client.start()
        for number in range(N_SWAPS):
            swap(number)
            for client in clients:
                client.answered.acquire(timeout=20)
        end.set()
        for client in clients:
            client.join()
    return clients


def whole_answers(shelf: Shelf, *model_ids: str) -> list[float]:
    chances = []
    for model_id in model_ids:
        answer = Predictor(shelf, keeping_policy, NoCloud()).locally(
            lambda model: model.predict(IMAGE), model_id
        )
        chances.append(answer.probabilities["defect"])
    return chances


def assert_all_answered(clients: list[Client], chances: list[float]) -> set[float]:
    seen = set()
    for client in clients:
        assert client.trouble is None
        assert len(client.answers) >= N_SWAPS
        for status, body in client.answers:
            assert status == 200, body
            near = [c for c in chances if client.chance(body) == pytest.approx(c, abs=1e-6)]
            assert near, "neither the old nor the new model answers so"
            seen.update(near)
    return seen


def test_fifty_swaps_back_and_forth_drop_no_request(tmp_path):
    shelf = make_shelf(tmp_path / "state")
    put(shelf, "one", tiny_model())
    put(shelf, "two", tiny_model(bias=1.0))
    chances = whole_answers(shelf, "one", "two")

    clients = hammer(shelf, lambda number: shelf.activate("one" if number % 2 else "two"))

    assert assert_all_answered(clients, chances) == set(chances)


def test_new_models_that_push_out_the_old_ones_drop_no_request(tmp_path):
    shelf = make_shelf(tmp_path / "state")
    put(shelf, "start", tiny_model())
    models = {f"m{number}": tiny_model(bias=float(number % 2)) for number in range(N_SWAPS)}
    put(shelf, "other", tiny_model(bias=1.0), activate=False)
    chances = whole_answers(shelf, "start", "other")

    def swap(number: int) -> None:
        put(shelf, f"m{number}", models[f"m{number}"])
        shelf.collect(set())

    clients = hammer(shelf, swap)

    assert assert_all_answered(clients, chances) == set(chances)
    assert not shelf.folder("start").exists()
