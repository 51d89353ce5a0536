"""The contact sheet shows every suspect with its name and reason, in a bounded number of pages."""

from PIL import Image

from device_agent.quality.findings import Finding
from device_agent.quality.look import ImageFile
from device_agent.quality.sheet import A_PAGE, MOST_PAGES, caption, write_sheet
from tests.device_agent.quality.pictures import picture


def findings(folder, n):
    picture(1).save(folder / "1.png")
    file = ImageFile(side="data", label="ok", path=folder / "1.png")
    return [Finding(kind="tiny", file=file, why=f"reason {number}") for number in range(n)]


def test_one_page_holds_twenty_and_the_rest_goes_on_the_next(tmp_path):
    written = write_sheet(tmp_path / "sheet.png", findings(tmp_path, A_PAGE + 1))

    assert [path.name for path in written] == ["sheet.png", "sheet-2.png"]
    with Image.open(written[0]) as first, Image.open(written[1]) as second:
        assert (first.width, first.height) == (1000, 928)
        assert second.height == first.height // 4
        assert len(first.getcolors(10**7)) > 100


def test_there_are_never_more_than_five_pages(tmp_path):
    written = write_sheet(tmp_path / "s.png", findings(tmp_path, A_PAGE * MOST_PAGES * 2))

    assert len(written) == MOST_PAGES


def test_without_suspects_nothing_is_written(tmp_path):
    assert write_sheet(tmp_path / "sheet.png", []) == []
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_read_has_a_place_too(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    file = ImageFile(side="data", label="ok", path=tmp_path / "bad.png")

    written = write_sheet(
        tmp_path / "sheet.png", [Finding(kind="unreadable", file=file, why="torn")]
    )

    with Image.open(written[0]) as page:
        assert page.getpixel((100, 80)) == (211, 211, 211)


def test_a_caption_fits_and_can_be_drawn(tmp_path):
    file = ImageFile(side="test", label="ok", path=tmp_path / ("ж" * 90 + ".png"))
    lines = caption(Finding(kind="near_duplicate", file=file, why="looks like " * 30))

    assert len(lines) <= 5
    assert all(len(line) <= 34 for line in lines)
    assert "".join(lines).encode("latin-1")
