import json

import pytest

from models.networks import UnknownCutError, build, frozen_names, trainable_names
from models.networks.registry import NETWORKS, STARTER
from models.release import describe_artifact
from models.starter import CLASSES, cuts_of
from models.train import RECORD_FILE, WEIGHTS_FILE
from models.variant import (
    INFERENCE_FILE,
    VARIANT_FILE,
    NotExportedError,
    describe_variant,
    graph_file,
    load_variant,
)


def filled(folder, cuts):
    """Put a file of its own content under every name that an export writes."""
    for name in (WEIGHTS_FILE, INFERENCE_FILE, *(graph_file(cut) for cut in cuts)):
        (folder / name).write_text(f"content of {name}")
    (folder / RECORD_FILE).write_text(json.dumps({"validation_auc": 0.91, "recipe": {"seed": 0}}))
    return folder


@pytest.mark.parametrize("name", STARTER)
def test_every_starter_network_can_be_described(name, tmp_path):
    network = build(NETWORKS[name])
    cuts = cuts_of(network.blocks)

    files = describe_variant(
        name, NETWORKS[name], classes=CLASSES, cuts=cuts, folder=filled(tmp_path, cuts)
    )

    variant = files.variant
    assert variant.blocks == network.blocks
    assert tuple(graph.cut for graph in variant.train_graphs) == cuts
    for graph in variant.train_graphs:
        assert graph.trainable == trainable_names(network, graph.cut)
        assert graph.frozen == frozen_names(network, graph.cut)
        assert not set(graph.trainable) & set(graph.frozen)
    for sha256, path in files.paths.items():
        assert describe_artifact(path, "weights").sha256 == sha256


def test_an_earlier_cut_trains_more(tmp_path):
    cuts = cuts_of(build(NETWORKS[STARTER[0]]).blocks)
    files = describe_variant(
        "v", NETWORKS[STARTER[0]], classes=CLASSES, cuts=cuts, folder=filled(tmp_path, cuts)
    )

    counts = [len(graph.trainable) for graph in files.variant.train_graphs]

    assert counts == sorted(counts)
    assert files.variant.train_graphs[-1].cut == "stem"


def test_the_lineage_says_what_training_said(tmp_path):
    files = describe_variant(
        "v",
        NETWORKS["rx-2xs-064"],
        classes=CLASSES,
        cuts=("head",),
        folder=filled(tmp_path, ["head"]),
    )

    assert files.variant.lineage == {"validation_auc": "0.91", "recipe": '{"seed": 0}'}


def test_a_described_variant_can_be_loaded_again(tiny):
    folder = next(iter(tiny.paths.values())).parent

    assert load_variant(folder) == tiny


def test_a_cut_that_the_network_lacks_is_refused(tmp_path):
    folder = filled(tmp_path, ["middle9"])

    with pytest.raises(UnknownCutError, match="middle9"):
        describe_variant(
            "v", NETWORKS["rx-2xs-064"], classes=CLASSES, cuts=("middle9",), folder=folder
        )


def test_a_folder_without_an_export_says_so(tmp_path):
    with pytest.raises(NotExportedError, match="export it again"):
        load_variant(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, INFERENCE_FILE, graph_file("head")])
@pytest.mark.parametrize("content", [b"trained anew", None])
def test_files_that_were_changed_after_the_export_are_noticed(tmp_path, name, content):
    describe_variant(
        "v",
        NETWORKS["rx-2xs-064"],
        classes=CLASSES,
        cuts=("head",),
        folder=filled(tmp_path, ["head"]),
    )
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(NotExportedError, match=name):
        load_variant(tmp_path)
    assert (tmp_path / VARIANT_FILE).is_file()
