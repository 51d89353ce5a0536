import pytest

from demo.__main__ import LEAST_PER_CLASS, what_is_wrong_with


@pytest.fixture
def data(tmp_path):
    for label in ("ok", "defect"):
        (tmp_path / label).mkdir()
        for number in range(LEAST_PER_CLASS):
            (tmp_path / label / f"{number}.png").touch()
    return tmp_path


def test_a_folder_of_both_classes_is_fine(data):
    assert what_is_wrong_with(data) == ""


def test_a_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "none" / "ok") in what_is_wrong_with(tmp_path / "none")


def test_an_empty_class_says_how_many_more_are_needed(data):
    for path in (data / "defect").iterdir():
        path.unlink()

    assert f"add {LEAST_PER_CLASS} more" in what_is_wrong_with(data)
