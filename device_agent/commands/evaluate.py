"""``device_agent evaluate``: judge a labelled folder by a model of this box. It writes nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from device_agent.commands.options import (
    JsonOption,
    StateOption,
    ending,
    load_settings,
    print_json,
)
from device_agent.commands.predict import read_image
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.display import progress
from device_agent.errors import BadImageError, DataUnusableError, NoPredictionError
from device_agent.log import configure_logging
from device_agent.loop.box import data_key
from device_agent.machine.profile import CLASSES, count_images, is_image
from device_agent.serving.judge import DEFECT, OK, Answered, judged
from device_agent.serving.predict import LocalModel, warm_up
from device_agent.serving.runtime import open_session
from device_agent.settings import AgentSettings

_MOST_NAMED = 5
_SEEN = {
    "trained_on": "the model was trained on images of this very folder: the figure flatters it",
    "judged_on": "the model was chosen by these very images, but not trained on them",
    "unknown": "whether the model has seen these images is not known",
}


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder that holds ok/ and defect/.")],
    *,
    model: Annotated[
        str, typer.Option("--model", help="active, previous, factory, or the name of a model.")
    ] = "active",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge labelled images: balanced accuracy with its interval, AUC, confusion, latency.

    Nothing is written, sent or kept. The 95 % interval is Wilson's for each class, the two
    combined by MOVER.

    Example: device_agent evaluate images --model previous
    """
    configure_logging()
    settings = load_settings(state=state)
    with ending():
        manifest, path = _chosen(Shelf(StatePaths(settings.state)), model)
        counts = dict(zip(CLASSES, count_images(folder), strict=True))
        empty = [name for name, count in counts.items() if count == 0]
        if empty:
            raise DataUnusableError(f"{folder} holds no images of {' or '.join(empty)}")
        facts = _facts(manifest, path, folder, settings)
        if as_json:
            print_json(facts)
        else:
            sys.stdout.write("\n".join(_lines(facts)) + "\n")


def _chosen(shelf: Shelf, name: str) -> tuple[Manifest, Path]:
    links = {"active": shelf.active_id, "previous": shelf.previous_id, "factory": shelf.factory_id}
    model_id = links[name]() if name in links else name
    if model_id is None or not _is_there(shelf, model_id):
        message = f"there is no model {name} on this box; device_agent status names the active one"
        raise NoPredictionError(message)
    return shelf.verified(model_id)


def _is_there(shelf: Shelf, model_id: str) -> bool:
    plain = "/" not in model_id and not model_id.startswith(".")
    return plain and shelf.folder(model_id).is_dir()


def _facts(manifest: Manifest, path: Path, folder: Path, settings: AgentSettings) -> dict[str, Any]:
    model = LocalModel(manifest, open_session(path))
    warm_up(model)
    files = [(name, p) for name in CLASSES for p in sorted((folder / name).iterdir())]
    images = [(name, p) for name, p in files if is_image(p.name) and p.is_file()]
    unreadable: list[str] = []
    with progress(len(images), "images") as advance:
        answers = []
        for answer in _answers(model, images, unreadable):
            advance(1)
            answers += [answer] if answer is not None else []
    return {
        "model_id": manifest.model_id,
        "variant": manifest.variant,
        "folder": str(folder),
        "seen": seen(manifest, folder, settings),
        "unreadable": unreadable,
        **judged(answers),
    }


def _answers(
    model: LocalModel, images: list[tuple[str, Path]], unreadable: list[str]
) -> Iterator[Answered | None]:
    for truth, path in images:
        try:
            said = model.predict(read_image(path))
        except BadImageError:
            unreadable.append(str(path))
            yield None
        else:
            yield Answered(truth, said.label, said.probabilities[DEFECT], said.latency_ms)


def seen(manifest: Manifest, folder: Path, settings: AgentSettings) -> str:
    """Return whether the model was trained or chosen on this folder, as far as can be known.

    Its manifest names the folders that it was made from by the paths and sizes in them.
    """
    if manifest.data_key in {data_key(folder, None), data_key(folder, settings.test_data)}:
        return "trained_on"
    data = settings.data
    if data is not None and data.is_dir() and manifest.data_key == data_key(data, folder):
        return "judged_on"
    return "unknown"


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    low, high = facts["interval_95"]
    n, confusion = facts["n"], facts["confusion"]
    yield f"{facts['model_id']} on {n[OK]} ok and {n[DEFECT]} defect images"
    yield f"balanced accuracy  {facts['balanced_accuracy']:.3f} (95 %: {low:.3f} to {high:.3f})"
    yield f"AUC                {facts['auc']:.3f}" if facts["auc"] is not None else "AUC  unknown"
    yield f"ok taken for ok    {confusion[OK][OK]}, for defect {confusion[OK][DEFECT]}"
    yield f"defect for defect  {confusion[DEFECT][DEFECT]}, for ok {confusion[DEFECT][OK]}"
    if facts["latency_ms_p50"] is not None:
        p50, p99 = facts["latency_ms_p50"], facts["latency_ms_p99"]
        yield f"latency            {p50:.1f} ms (half), {p99:.1f} ms (99 of 100)"
    if facts["unreadable"]:
        named = ", ".join(facts["unreadable"][:_MOST_NAMED])
        yield f"not readable       {len(facts['unreadable'])}, such as {named}"
    yield _SEEN[facts["seen"]]
