from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from contract.desired import NEXT_POLL_HEADER
from tests.app.release_maker import point
from tests.app.world import Box, Server, assert_problem, bearer, outcome, profile

MB = 1_000_000
LARGE_HEAD = point("large").key
SMALL_STEM = point("small", cut="stem").key
EVENT = {"kind": "event", "name": "started", "fields": {}}


def assigned(box: Box) -> str:
    state = box.desired()
    assert state.assignment is not None
    return state.assignment.point.key


def test_a_box_registers_polls_and_learns_what_to_train(server: Server) -> None:
    box = server.box()
    state = box.desired()
    assert state.action == "train"
    assert state.assignment is not None
    assert state.assignment.point.key == LARGE_HEAD
    assert state.assignment.variant.name == "large"
    assert state.assignment.budget_bytes == int(0.95 * 300 * MB)
    assert "large" in state.why
    assert "short" in state.next_better
    assert (state.generation, state.release_number) == (1, 1)


def test_a_poll_that_knows_the_state_is_answered_304_without_a_body(server: Server) -> None:
    box = server.box()
    first = box.poll()
    assert first.headers[NEXT_POLL_HEADER] == "60"
    again = box.poll(first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers[NEXT_POLL_HEADER] == "60"
    weak = box.poll(f'"other", W/{first.headers["ETag"]}')
    assert weak.status_code == 304


def test_without_a_release_a_box_is_idle_and_told_why(empty_server: Server) -> None:
    state = empty_server.box().desired()
    assert (state.action, state.release_number, state.decision_id) == ("idle", 0, None)
    assert "No release" in state.why


def test_polls_write_no_decision_while_nothing_changed(server: Server) -> None:
    box = server.box()
    for _ in range(5):
        box.poll()
    decisions = server.get(f"/v1/devices/{box.device_id}/decisions").json()["items"]
    assert len(decisions) == 1


def test_a_smaller_cap_in_a_new_profile_changes_the_assignment(server: Server) -> None:
    box = server.box()
    etag = box.poll().headers["ETag"]
    small = profile(operator_cap_bytes=200 * MB)
    assert box.report({"kind": "profile", "profile": small}).status_code == 200
    answer = box.poll(etag)
    assert answer.status_code == 200
    assert answer.json()["generation"] == 2
    assert answer.json()["assignment"]["point"]["variant"] == "small"


def test_an_older_profile_that_comes_late_changes_nothing(server: Server) -> None:
    box = server.box()
    late = box.envelope({"kind": "profile", "profile": profile(operator_cap_bytes=100 * MB)})
    box.report({"kind": "profile", "profile": profile()})
    response = server.client.post(
        "/v1/device/reports", headers=box.headers, json={"reports": [late]}
    )
    assert response.json()["receipts"][0]["status"] == "stored"
    assert assigned(box) == LARGE_HEAD


def test_breathing_memory_keeps_the_generation(server: Server) -> None:
    box = server.box()
    etag = box.poll().headers["ETag"]
    box.report({"kind": "profile", "profile": profile(operator_cap_bytes=352 * MB)})
    assert box.poll(etag).status_code == 304


def test_a_point_that_passed_its_cap_is_not_given_again(server: Server) -> None:
    box = server.box()
    state = box.desired()
    box.report(outcome(state, "over_cap", cap_bytes=285 * MB))
    assert assigned(box) == SMALL_STEM


def test_a_point_that_stayed_below_the_floor_is_not_given_again(server: Server) -> None:
    box = server.box()
    state = box.desired()
    box.report(outcome(state, "below_floor", balanced_accuracy_after=0.4))
    assert assigned(box) == SMALL_STEM


def test_a_refused_point_is_not_given_again(server: Server) -> None:
    box = server.box()
    box.report(outcome(box.desired(), "refused"))
    assert assigned(box) == SMALL_STEM


def test_a_failure_may_be_tried_again_but_not_for_ever(server: Server) -> None:
    box = server.box()
    state = box.desired()
    box.report(outcome(state, "failed"))
    assert assigned(box) == LARGE_HEAD
    box.report(outcome(state, "failed"), outcome(state, "failed"))
    assert assigned(box) == SMALL_STEM


def test_a_good_outcome_keeps_the_assignment(server: Server) -> None:
    box = server.box()
    first = box.poll()
    done = outcome(box.desired(), "activated", balanced_accuracy_after=0.95, peak_rss_bytes=MB)
    box.report(done)
    assert box.poll(first.headers["ETag"]).status_code == 304


def test_a_report_is_stored_once_however_often_it_is_sent(server: Server) -> None:
    box = server.box()
    first = box.report(EVENT, EVENT, key="same")
    assert [r["status"] for r in first.json()["receipts"]] == ["stored", "duplicate"]
    again = box.report(EVENT, key="same")
    assert again.json() == {"receipts": [{"key": "same", "status": "duplicate"}]}
    assert len(server.get(f"/v1/devices/{box.device_id}/reports").json()["items"]) == 1


def test_racing_copies_of_a_failure_count_once(server: Server) -> None:
    box = server.box()
    failed = box.envelope(outcome(box.desired(), "failed"), key="one")

    def send(_: int) -> str:
        response = server.client.post(
            "/v1/device/reports", headers=box.headers, json={"reports": [failed]}
        )
        return str(response.json()["receipts"][0]["status"])

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(send, range(20)))
    assert sorted(statuses) == ["duplicate"] * 19 + ["stored"]
    assert assigned(box) == LARGE_HEAD


def test_many_boxes_check_in_and_poll_at_once(server: Server) -> None:
    boxes = [server.box(f"box-{i}") for i in range(8)]

    def work(box: Box) -> tuple[int, int]:
        return box.report(EVENT, EVENT).status_code, box.poll().status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, boxes * 3)) == {(200, 200)}
    for box in boxes:
        assert len(server.get(f"/v1/devices/{box.device_id}/reports").json()["items"]) == 6


def test_fifty_racing_boxes_share_the_uses_of_a_token_exactly(server: Server) -> None:
    token = server.token("enrol", uses=7)

    def enrol(i: int) -> int:
        return server.register(f"racer-{i}", token).status_code

    with ThreadPoolExecutor(50) as pool:
        statuses = list(pool.map(enrol, range(50)))
    assert sorted(set(statuses)) == [200, 403]
    assert statuses.count(200) == 7
    assert len(server.get("/v1/devices").json()["items"]) == 7


def test_racing_registrations_of_one_serial_take_one_use(server: Server) -> None:
    token = server.token("enrol", uses=2)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.register("twin", token), range(6)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.json()["device_id"] for a in answers}) == 1
    assert server.register("other", token).status_code == 200
    assert_problem(server.register("third", token), 403, "enrolment-used-up")


def test_registering_again_gives_a_fresh_token_and_revokes_the_old(server: Server) -> None:
    token = server.token("enrol", uses=1)
    first = server.register("box", token).json()
    second = server.register("box", token).json()
    assert first["device_id"] == second["device_id"]
    old = Box(server.client, first["device_id"], first["token"])
    assert_problem(old.poll(), 401, "unauthenticated")
    assert Box(server.client, second["device_id"], second["token"]).poll().status_code == 200


def test_a_serial_cannot_be_taken_over_with_another_token(server: Server) -> None:
    server.box("mine")
    other = server.token("enrol", uses=5)
    assert_problem(server.register("mine", other), 409, "serial-taken")


def test_a_freed_serial_may_be_enrolled_with_another_token(server: Server) -> None:
    box = server.box("mine")
    assert server.post(f"/v1/devices/{box.device_id}/revoke").json()["registered"] is False
    assert_problem(box.poll(), 401, "unauthenticated")
    assert_problem(box.report(EVENT), 401, "unauthenticated")
    again = server.register("mine", server.token("enrol", uses=1))
    assert again.json()["device_id"] == box.device_id


def test_an_expired_enrolment_token_is_refused(server: Server) -> None:
    token = server.token("enrol", uses=9, expires_after=timedelta(hours=1))
    server.clock.advance(hours=2)
    assert_problem(server.register("late", token), 401, "unauthenticated")


def test_a_token_of_another_kind_is_refused_on_the_hot_path(server: Server) -> None:
    for token in (server.operator_token, server.token("enrol", uses=1)):
        stranger = Box(server.client, "nobody", token)
        assert_problem(stranger.poll(), 403, "forbidden")
        assert_problem(stranger.report(EVENT), 403, "forbidden")


def test_no_token_and_garbled_tokens_are_refused(server: Server) -> None:
    for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer"}, bearer("nope")):
        response = server.client.get("/v1/device/desired", headers=headers)
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_a_bad_request_in_a_batch_does_not_hurt_the_others(server: Server) -> None:
    box, stranger = server.box(), Box(server.client, "nobody", "pfd_unknown")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda b: b.report(EVENT).status_code, [box, stranger] * 10))
    assert answers == [200, 401] * 10


def test_times_of_last_contact_are_written_in_bulk(server: Server) -> None:
    box = server.box()
    box.poll()
    assert server.get(f"/v1/devices/{box.device_id}").json()["last_seen_at"] is None
    server.clock.advance(seconds=20)
    box.poll()
    seen = server.get(f"/v1/devices/{box.device_id}").json()["last_seen_at"]
    assert seen == "2026-01-01T00:00:20Z"


def test_a_new_release_reaches_boxes_at_their_next_poll(server: Server, load_release) -> None:
    box = server.box()
    etag = box.poll().headers["ETag"]
    load_release(2)
    answer = box.poll(etag)
    assert answer.json()["release_number"] == 2
    server.post("/v1/releases/2/retire")
    assert box.poll(answer.headers["ETag"]).json()["release_number"] == 1


def test_lost_database_connections_are_made_anew(server: Server) -> None:
    if server.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no connections to lose")
    box = server.box()
    etag = box.poll().headers["ETag"]
    with server.engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )
    assert box.poll(etag).status_code == 304
    assert box.report(EVENT).status_code == 200
    assert server.get("/v1/devices").status_code == 200
