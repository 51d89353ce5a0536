from concurrent.futures import ThreadPoolExecutor

import pytest

from app.examples import POLICY
from tests.app.release_maker import point
from tests.app.world import Server, assert_problem, bearer

OPERATOR_READS = [
    "/v1/devices",
    "/v1/devices/x",
    "/v1/devices/x/decisions",
    "/v1/devices/x/reports",
    "/v1/decisions/x",
    "/v1/releases",
    "/v1/releases/1",
    "/v1/catalogue",
    "/v1/frontier",
    "/v1/policies",
    "/v1/policies/default",
]
OPERATOR_WRITES = [
    "/v1/devices/x/revoke",
    "/v1/releases/1/retire",
    "/v1/policies",
    "/v1/policies/default/versions",
    "/v1/policies/default/retire",
]


def body(**changes):
    return {**POLICY, "selector": {}, "accuracy_floor": 0.5, **changes}


def test_only_operators_may_call_operators_routes(server: Server):
    others = [server.box().token, server.token("enrol", uses=1)]
    calls = [("GET", path) for path in OPERATOR_READS]
    calls += [("POST", path) for path in OPERATOR_WRITES]
    for method, path in calls:
        content = body(name="x") if path.endswith(("policies", "versions")) else None
        anonymous = server.client.request(method, path, json=content)
        assert_problem(anonymous, 401, "unauthenticated")
        for token in others:
            answer = server.client.request(method, path, json=content, headers=bearer(token))
            assert_problem(answer, 403, "forbidden")


def test_the_lists_of_routes_above_are_complete(server: Server):
    schema = server.client.get("/openapi.json").json()
    others = {"boxes' calls", "health", "inference"}
    found = {
        (method.upper(), path)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if not others & set(operation["tags"])
    }
    named = {("GET", p) for p in OPERATOR_READS} | {("POST", p) for p in OPERATOR_WRITES}
    fill = {"{device_id}": "x", "{decision_id}": "x", "{number}": "1", "{name}": "default"}

    def filled(path):
        for name, value in fill.items():
            path = path.replace(name, value)
        return path

    assert {(method, filled(path)) for method, path in found} == named


def test_a_decision_explains_every_point(server: Server):
    box = server.box()
    decision_id = box.desired().decision_id
    shown = server.get(f"/v1/decisions/{decision_id}").json()
    assert shown["device_id"] == box.device_id
    assert len(shown["decision"]["verdicts"]) == 4
    texts = [v["text"] for v in shown["decision"]["verdicts"]]
    assert sum(text == "chosen" for text in texts) == 1
    assert any("short" in text for text in texts)
    assert shown["inputs"]["profile"]["operator_cap_bytes"] == 350_000_000
    assert shown["inputs"]["current"] is None


def test_devices_are_listed_a_page_at_a_time(server: Server):
    token = server.token("enrol", uses=5)
    for i in range(5):
        server.register(f"box-{i}", token)
    first = server.get("/v1/devices", limit=3).json()
    rest = server.get("/v1/devices", limit=3, cursor=first["next_cursor"]).json()
    serials = [d["serial"] for d in first["items"] + rest["items"]]
    assert sorted(serials) == [f"box-{i}" for i in range(5)]
    assert rest["next_cursor"] is None


def test_reports_and_decisions_are_listed_newest_first(server: Server):
    box = server.box()
    for name in ("one", "two", "three"):
        box.report({"kind": "event", "name": name, "fields": {"a": "b"}})
    path = f"/v1/devices/{box.device_id}/reports"
    first = server.get(path, limit=2).json()
    assert [r["body"]["name"] for r in first["items"]] == ["three", "two"]
    rest = server.get(path, limit=2, cursor=first["next_cursor"]).json()
    assert [r["body"]["name"] for r in rest["items"]] == ["one"]


def test_what_is_not_there_is_404(server: Server):
    for path in (
        "/v1/devices/none",
        "/v1/devices/none/decisions",
        "/v1/devices/none/reports",
        "/v1/decisions/none",
        "/v1/releases/9",
        "/v1/policies/none",
    ):
        assert_problem(server.get(path), 404, "not-found")
    for path in ("/v1/devices/none/revoke", "/v1/releases/9/retire", "/v1/policies/none/retire"):
        assert_problem(server.post(path), 404, "not-found")
    assert_problem(server.post("/v1/policies/none/versions", body()), 404, "not-found")


def test_releases_are_shown_and_retired_once(server: Server):
    assert server.get("/v1/releases").json()["items"][0]["number"] == 1
    assert len(server.get("/v1/releases/1").json()["points"]) == 4
    assert server.post("/v1/releases/1/retire").json()["retired_at"] is not None
    assert_problem(server.post("/v1/releases/1/retire"), 409, "retired")
    assert_problem(server.get("/v1/catalogue"), 409, "no-release")
    assert_problem(server.get("/v1/frontier"), 409, "no-release")


def test_the_catalogue_and_the_frontier_show_the_current_release(server: Server, load_release):
    assert [v["name"] for v in server.get("/v1/catalogue").json()["variants"]] == ["small", "large"]
    load_release(2, (point("a", accuracy=0.9), point("b", accuracy=0.8), point("c", seconds=None)))
    shown = server.get("/v1/frontier").json()
    assert shown["release_number"] == 2
    assert {p["point"]["variant"]: p["non_dominated"] for p in shown["points"]} == {
        "a": True,
        "b": False,
        "c": False,
    }
    only = server.get("/v1/frontier", variant="b").json()["points"]
    assert [p["point"]["variant"] for p in only] == ["b"]
    assert server.get("/v1/frontier", task="other").json()["points"] == []


def test_the_first_policy_is_there_from_the_start(empty_server: Server):
    shown = empty_server.get("/v1/policies/default").json()
    assert (shown["version"], shown["body"]["accuracy_floor"]) == (1, 0.5)
    assert shown["body"]["images_may_leave"] is False


def test_policies_are_created_changed_and_retired(server: Server):
    created = server.post("/v1/policies", body(name="strict", selector={"line": "3"}))
    assert (created.status_code, created.json()["version"]) == (201, 1)
    assert_problem(server.post("/v1/policies", body(name="strict")), 409, "already-exists")
    changed = server.post("/v1/policies/strict/versions", body(accuracy_floor=0.7))
    assert changed.json()["version"] == 2
    history = server.get("/v1/policies/strict").json()
    assert [v["version"] for v in history["versions"]] == [2, 1]
    assert [v["body"]["accuracy_floor"] for v in history["versions"]] == [0.7, 0.5]
    assert server.post("/v1/policies/strict/retire").json()["retired_at"] is not None
    assert_problem(server.post("/v1/policies/strict/retire"), 409, "retired")
    assert_problem(server.post("/v1/policies/strict/versions", body()), 409, "retired")
    names = [p["name"] for p in server.get("/v1/policies").json()["items"]]
    assert names == ["default", "strict"]


def test_a_policy_reaches_the_boxes_it_selects(server: Server):
    chosen = server.box("one", labels={"line": "3"})
    other = server.box("two", labels={"line": "4"})
    etags = [box.poll().headers["ETag"] for box in (chosen, other)]
    server.post("/v1/policies", body(name="fast", selector={"line": "3"}, max_latency_ms=4.0))
    answer = chosen.poll(etags[0])
    assert answer.json()["assignment"]["point"]["variant"] == "small"
    assert other.poll(etags[1]).status_code == 304


def test_without_any_policy_a_box_is_idle(server: Server):
    server.post("/v1/policies/default/retire")
    state = server.box().desired()
    assert (state.action, state.decision_id) == ("idle", None)
    assert "No policy" in state.why


@pytest.mark.parametrize(
    ("change", "field", "nearest"),
    [
        ({"accuracy_floor": 0.99}, "accuracy_floor", "0.96"),
        ({"max_latency_ms": 0.5}, "max_latency_ms", "2"),
        ({"max_artifact_bytes": 10}, "max_artifact_bytes", "1000000"),
    ],
)
def test_an_impossible_policy_is_refused_with_the_nearest_value(
    server: Server, change, field, nearest
):
    for path, extra in (("/v1/policies", {"name": "x"}), ("/v1/policies/default/versions", {})):
        refused = assert_problem(
            server.post(path, body(**extra, **change)), 422, "impossible-policy"
        )
        assert refused["errors"][0]["field"] == field
        assert nearest in refused["errors"][0]["message"]
    assert server.get("/v1/policies/default").json()["version"] == 1


def test_racing_versions_are_numbered_without_gaps(server: Server):
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda _: server.post("/v1/policies/default/versions", body()).json()["version"],
            range(16),
        )
        assert sorted(answers) == list(range(2, 18))


def test_a_typo_in_a_policy_is_an_error(server: Server):
    wrong = assert_problem(
        server.post("/v1/policies", body(name="x", acuracy_floor=0.5)), 422, "invalid-input"
    )
    assert wrong["errors"][0]["field"] == "body.acuracy_floor"
