import pytest

from models.finetune.schedule import learning_rate


def test_warms_up_over_the_first_tenth_then_falls_to_a_hundredth():
    rates = [learning_rate(1.0, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("total", [1, 2, 3, 10, 5000])
def test_never_passes_the_base_rate_and_never_stops_learning(total):
    rates = [learning_rate(0.3, step, total) for step in range(total)]
    assert max(rates) <= 0.3
    assert min(rates) > 0


def test_warms_up_for_a_hundred_steps_at_most():
    assert learning_rate(1.0, 99, 100_000) == pytest.approx(1.0)
    assert learning_rate(1.0, 98, 100_000) < 1.0
