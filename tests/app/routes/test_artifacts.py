import pytest

from tests.app.release_maker import release
from tests.app.world import Server, assert_problem


@pytest.fixture
def artifact():
    made, files = release()
    weights = made.variants[0].weights
    return weights.sha256, files[weights.sha256]


def test_a_box_and_an_operator_download_a_file_whole(server: Server, artifact):
    sha256, content = artifact
    for headers in (server.box().headers, server.operator):
        answer = server.client.get(f"/v1/artifacts/{sha256}", headers=headers)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["ETag"] == f'"{sha256}"'
        assert answer.headers["Content-Length"] == str(len(content))


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, artifact):
    sha256, content = artifact
    headers = {**server.operator, "Range": "bytes=100-", "If-Range": f'"{sha256}"'}
    answer = server.client.get(f"/v1/artifacts/{sha256}", headers=headers)
    assert (answer.status_code, answer.content) == (206, content[100:])
    assert answer.headers["Content-Range"] == f"bytes 100-{len(content) - 1}/{len(content)}"


def test_another_version_is_sent_whole(server: Server, artifact):
    sha256, content = artifact
    headers = {**server.operator, "Range": "bytes=100-", "If-Range": '"old"'}
    answer = server.client.get(f"/v1/artifacts/{sha256}", headers=headers)
    assert (answer.status_code, answer.content) == (200, content)


def test_a_range_outside_the_file_is_416_and_tells_the_length(server: Server, artifact):
    sha256, content = artifact
    headers = {**server.operator, "Range": "bytes=999999-"}
    answer = server.client.get(f"/v1/artifacts/{sha256}", headers=headers)
    assert_problem(answer, 416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


def test_a_known_file_is_not_sent_again(server: Server, artifact):
    sha256, _ = artifact
    headers = {**server.operator, "If-None-Match": f'"{sha256}"'}
    answer = server.client.get(f"/v1/artifacts/{sha256}", headers=headers)
    assert (answer.status_code, answer.content) == (304, b"")


def test_names_that_are_no_hash_and_unknown_hashes_are_refused(server: Server, artifact):
    sha256, _ = artifact
    assert_problem(server.get("/v1/artifacts/" + "0" * 64), 404, "not-found")
    assert_problem(server.get(f"/v1/artifacts/{sha256.upper()}"), 422, "invalid-input")
    assert_problem(server.get("/v1/artifacts/..%2f..%2fetc%2fpasswd"), 404, "not-found")
    anonymous = server.client.get(f"/v1/artifacts/{sha256}")
    assert_problem(anonymous, 401, "unauthenticated")
    enrolment = server.client.get(
        f"/v1/artifacts/{sha256}",
        headers={"Authorization": f"Bearer {server.token('enrol', uses=1)}"},
    )
    assert_problem(enrolment, 403, "forbidden")
