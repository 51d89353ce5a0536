import gc

from app.main import FIRST_GENERATION_OBJECTS, spare_the_collector


def test_what_a_server_was_built_from_is_left_out_of_later_collections() -> None:
    before = gc.get_threshold()
    try:
        spare_the_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (FIRST_GENERATION_OBJECTS, *before[1:])
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
