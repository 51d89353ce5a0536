"""Which provider serves: decided from recorded timings, measured only where there is a choice."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.serving import providers
from device_agent.serving.providers import Choice, ChoiceFile, Timing, candidates, choose, measure
from device_agent.serving.runtime import CPU
from tests.device_agent.fleet import PX, tiny_model

CUDA, OPENVINO = "CUDAExecutionProvider", "OpenVINOExecutionProvider"
TENSORRT, AZURE = "TensorrtExecutionProvider", "AzureExecutionProvider"


def timing(provider: str, latency_ms: float | None, **more: object) -> Timing:
    facts = {"probabilities": (0.2, 0.8), "rss_bytes": 100_000_000} | more
    return Timing.model_validate({"provider": provider, "latency_ms": latency_ms, **facts})


def chosen(*timings: Timing, limit: int | None = None) -> str:
    return choose(timings, limit).provider


@pytest.mark.parametrize(
    ("asked", "available", "wanted"),
    [
        ("auto", (AZURE, CPU), ()),
        ("auto", (TENSORRT, CUDA, CPU), (CUDA,)),
        ("auto", (OPENVINO, CUDA, CPU), (CUDA, OPENVINO)),
        ("cpu", (CUDA, CPU), ()),
        ("tensorrt", (TENSORRT, CUDA, CPU), (TENSORRT,)),
        (TENSORRT, (TENSORRT, CUDA, CPU), (TENSORRT,)),
        ("CUDA", (CPU,), ()),
        ("azure", (AZURE, CPU), ()),
        (AZURE, (AZURE, CPU), ()),
    ],
)
def test_only_accelerators_that_are_there_are_candidates(asked, available, wanted):
    assert candidates(asked, available) == wanted


def test_what_was_clearly_faster_serves():
    choice = choose([timing(CPU, 12.0), timing(CUDA, 2.0), timing(OPENVINO, 5.0)], None)

    assert choice.provider == CUDA
    assert "CUDAExecutionProvider takes 2.00 ms" in choice.why
    assert "the CPU takes 12.00 ms" in choice.why


def test_what_is_hardly_faster_or_slower_does_not():
    assert chosen(timing(CPU, 12.0), timing(CUDA, 10.5)) == CPU
    assert chosen(timing(CPU, 0.1), timing(CUDA, 0.9)) == CPU


def test_the_next_serves_where_the_fastest_answers_otherwise():
    wrong = timing(CUDA, 1.0, probabilities=(0.7, 0.3))

    assert chosen(timing(CPU, 12.0), wrong, timing(OPENVINO, 5.0)) == OPENVINO
    assert chosen(timing(CPU, 12.0), timing(CUDA, 1.0, probabilities=())) == CPU


def test_what_takes_too_much_of_the_cap_does_not_serve():
    fast = timing(CUDA, 1.0, rss_bytes=900_000_000)

    assert chosen(timing(CPU, 12.0), fast, limit=500_000_000) == CPU
    assert chosen(timing(CPU, 12.0), fast, limit=None) == CUDA


def test_a_provider_that_failed_gives_its_reason():
    failed = timing(CUDA, None, trouble="ended with -11: no driver")
    choice = choose([timing(CPU, 12.0), failed], None)

    assert choice.provider == CPU
    assert "no driver" in choice.why


def test_without_a_time_of_the_cpu_the_cpu_serves():
    assert chosen(timing(CPU, None), timing(CUDA, 1.0)) == CPU
    assert chosen(timing(CUDA, 1.0)) == CPU


times = st.one_of(st.none(), st.floats(0.01, 1000.0))
tries = st.lists(
    st.builds(
        timing,
        st.sampled_from([CUDA, OPENVINO, TENSORRT]),
        times,
        rss_bytes=st.integers(0, 10**9),
        probabilities=st.sampled_from([(0.2, 0.8), (0.21, 0.79), (0.9, 0.1), ()]),
    ),
    max_size=5,
)


@given(times, tries, st.one_of(st.none(), st.integers(0, 10**9)))
def test_whatever_serves_is_the_cpu_or_clearly_faster_right_and_small_enough(cpu_ms, others, limit):
    choice = choose([timing(CPU, cpu_ms), *others], limit)

    if choice.provider != CPU:
        assert cpu_ms is not None
        mine = [t for t in others if t.provider == choice.provider and t.latency_ms is not None]
        assert any(
            t.latency_ms * providers.CLEARLY_FASTER <= cpu_ms
            and t.probabilities in {(0.2, 0.8), (0.21, 0.79)}
            and (limit is None or t.rss_bytes <= limit)
            for t in mine
        )


def test_with_the_cpu_alone_nothing_is_measured():
    def never(name: str) -> Timing:
        raise AssertionError(name)

    assert measure((), never, None).provider == CPU


def test_the_cpu_and_every_candidate_have_their_turn():
    turns = []

    def take_time(name: str) -> Timing:
        turns.append(name)
        return timing(name, 10.0 if name == CPU else 1.0)

    assert measure((CUDA,), take_time, None).provider == CUDA
    assert turns == [CPU, CUDA]


def test_a_child_times_this_very_model_and_a_provider_that_is_away_has_its_reason(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model())

    taken = providers.time_in_child(model, (PX, 3, 2), 1, CPU)
    away = providers.time_in_child(model, (PX, 3, 2), 1, CUDA)

    assert taken.trouble is None
    assert taken.latency_ms is not None
    assert taken.latency_ms > 0
    assert taken.rss_bytes > 10_000_000
    assert sum(taken.probabilities) == pytest.approx(1)
    assert away.latency_ms is None
    assert "CUDAExecutionProvider" in (away.trouble or "")


def test_choices_are_kept_the_latest_sixteen(tmp_path):
    kept = ChoiceFile(tmp_path / "providers.json")
    for number in range(20):
        kept.put(f"k{number}", Choice(provider=CUDA, why=f"{number}"))
    kept.put("k10", Choice(why="again"))

    assert kept.get("k3") is None
    assert kept.get("k10") == Choice(why="again")
    assert kept.get("k19") == Choice(provider=CUDA, why="19")
    assert len(json.loads((tmp_path / "providers.json").read_bytes())) == 16


@pytest.mark.parametrize("content", [b"", b"[]", b'{"k": 1}', b"\xff"])
def test_a_damaged_file_of_choices_is_an_empty_one(tmp_path, content):
    path = tmp_path / "providers.json"
    path.write_bytes(content)
    kept = ChoiceFile(path)

    assert kept.get("k") is None
    kept.put("k", Choice(why="new"))
    assert kept.get("k") == Choice(why="new")


def test_the_key_of_a_choice_names_everything_that_it_depends_on():
    keys = {
        providers.key_of("sha", 1, "auto", "probe", (CUDA,)),
        providers.key_of("other", 1, "auto", "probe", (CUDA,)),
        providers.key_of("sha", 2, "auto", "probe", (CUDA,)),
        providers.key_of("sha", 1, "auto", "probe", (CUDA, OPENVINO)),
    }
    assert len(keys) == 4
