"""One tiny exported variant and two tiny boards, made once for all tests of the lab."""

import pytest

from tests.models import labs


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return labs.export_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def boards_folder(tmp_path_factory):
    return labs.write_boards(tmp_path_factory.mktemp("boards"))
