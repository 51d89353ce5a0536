import pytest

from models.whole_folder import whole_folder


def test_the_folder_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "deep" / "made"
    with whole_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()

    assert (target / "a").read_text() == "1"
    assert list(target.parent.iterdir()) == [target]


def test_nothing_is_left_of_a_folder_whose_writing_failed(tmp_path):
    def fail():
        with whole_folder(tmp_path / "made") as folder:
            (folder / "a").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert list(tmp_path.iterdir()) == []
