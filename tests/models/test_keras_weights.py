"""Keras's Xception against an independent computation of it, in float64."""

import hashlib
import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from contract.architecture import spec_hash
from models.cli import main
from models.keras_file import PARTS, KerasFileError
from models.keras_weights import IMPORT_FILE, OURS, import_keras, layers_of, read_keras, registered
from models.networks import build
from models.train import WEIGHTS_FILE, load_weights
from tests.models import keras_files
from tests.models.keras_files import SPEC


def backbone_names(network):
    return {
        name
        for name in network.state_dict()
        if not name.startswith("head.") and not name.endswith("num_batches_tracked")
    }


@pytest.fixture(scope="module")
def keras():
    return keras_files.layers()


@pytest.fixture(scope="module")
def weights(keras, tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "x.h5"
    return read_keras(keras_files.write_by_names(path, keras), SPEC)


@pytest.fixture
def network(weights):
    filled = build(SPEC)
    filled.load_state_dict(weights.tensors, strict=False)
    return filled.double().eval()


class Reference:
    """Keras's semantics in numpy: [N, H, W, C], float64; keeps each output by our module's name."""

    def __init__(self, parts):
        self.parts = {
            layer: {part: values.astype(np.float64) for part, values in of.items()}
            for layer, of in parts.items()
        }
        self.outputs = {}

    def run(self, images):
        x = self.keep("stem.conv1", conv(images, self.kernel("block1_conv1"), stride=2))
        x = np.maximum(self.keep("stem.bn1", self.bn("block1_conv1_bn", x)), 0)
        x = self.keep("stem.conv2", conv(x, self.kernel("block1_conv2")))
        x = np.maximum(self.keep("stem.bn2", self.bn("block1_conv2_bn", x)), 0)
        for number, ours in enumerate(("entry1", "entry2", "entry3")):
            x = self.reducing(number, number + 2, ours, x)
        for block, ours in ((5, "middle1"), (6, "middle2")):
            x = self.keep(ours, x + self.separables(block, f"{ours}.body", x, 3))
        x = self.reducing(3, 7, "exit", x)
        for number in (1, 2):
            x = np.maximum(self.separable(8, "tail", number, x), 0)
        return x.mean((1, 2))

    def reducing(self, number, block, ours, x):
        suffix = f"_{number}" if number else ""
        bypass = conv(x, self.kernel(f"conv2d{suffix}"), stride=2, same=True)
        bypass = self.keep(f"{ours}.shortcut", self.bn(f"batch_normalization{suffix}", bypass))
        body = self.separables(block, f"{ours}.body", x, 2)
        pooled = self.keep(f"{ours}.body.maxpool", maxpool(body))
        return self.keep(ours, pooled + bypass)

    def separables(self, block, parent, x, count):
        for number in range(1, count + 1):
            x = self.separable(block, parent, number, np.maximum(x, 0))
        return x

    def separable(self, block, parent, number, x):
        layer = f"block{block}_sepconv{number}"
        ours = f"{parent}.sep{number}"
        depthwise = self.parts[layer]["depthwise_kernel"]
        x = self.keep(f"{ours}.depthwise", conv(x, depthwise, same=True, apart=True))
        x = self.keep(f"{ours}.pointwise", conv(x, self.parts[layer]["pointwise_kernel"]))
        return self.keep(ours, self.bn(f"{layer}_bn", x))

    def bn(self, layer, x):
        parts = self.parts[layer]
        scaled = (x - parts["moving_mean"]) / np.sqrt(parts["moving_variance"] + 1e-3)
        return scaled * parts["gamma"] + parts["beta"]

    def kernel(self, layer):
        return self.parts[layer]["kernel"]

    def keep(self, name, x):
        self.outputs[name] = x
        return x


def conv(x, kernel, *, stride=1, same=False, apart=False):
    """Convolve; ``same`` pads as Keras does, ``apart`` keeps the channels apart."""
    size = kernel.shape[0]
    if same:
        x = padded(x, size, stride, 0.0)
    total = 0.0
    for row, column, window in windows(x, size, stride):
        weights = kernel[row, column]
        total = total + (window * weights[:, 0] if apart else window @ weights)
    return total


def maxpool(x):
    return np.max([window for *_, window in windows(padded(x, 3, 2, -np.inf), 3, 2)], axis=0)


def padded(x, size, stride, fill):
    """Pad so that there are ceil(n / stride) windows; what is odd goes below and to the right."""
    sides = []
    for length in x.shape[1:3]:
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        sides.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=fill)


def windows(x, size, stride):
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    for row in range(size):
        for column in range(size):
            yield (
                row,
                column,
                x[
                    :,
                    row : row + rows * stride : stride,
                    column : column + columns * stride : stride,
                ],
            )


def pictures(px):
    return np.random.default_rng(px).uniform(-1, 1, (2, px, px, 3))


def channels_first(x):
    return x.transpose(0, 3, 1, 2)


def features_of(network, images):
    with torch.inference_mode():
        return network.forward_features(torch.from_numpy(channels_first(images).copy())).numpy()


def test_every_layer_computes_what_keras_computes(network, keras):
    reference = Reference(keras)
    wanted = reference.run(pictures(71))
    seen = {}
    for name in reference.outputs:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output.numpy()})
        )

    features = features_of(network, pictures(71))

    assert seen.keys() == reference.outputs.keys()
    assert len(seen) == 4 + 16 * 3 + 4 * 2 + 6
    for name, output in reference.outputs.items():
        np.testing.assert_allclose(
            seen[name], channels_first(output), rtol=1e-9, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(features, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("px", "same"), [(71, True), (72, True), (103, True), (104, True), (75, False), (96, False)]
)
def test_it_is_kerass_network_where_every_maxpool_sees_an_odd_size(network, keras, px, same):
    features = features_of(network, pictures(px))

    assert np.allclose(features, Reference(keras).run(pictures(px)), rtol=1e-9) is same


def test_every_tensor_of_the_backbone_comes_from_a_dataset_of_its_own(weights, keras):
    network = build(SPEC)

    assert weights.tensors.keys() == backbone_names(network)
    assert weights.unused == ()
    values = [value.numpy() for value in weights.tensors.values()]
    stored = [part for parts in keras.values() for part in parts.values()]
    assert sorted(map(checksum, values)) == sorted(map(checksum, stored))
    assert list(weights.layers) != sorted(weights.layers)
    assert set(weights.layers) == set(keras)


def checksum(values):
    """Return what does not depend on the order of the axes, and is no other tensor's."""
    return hashlib.sha256(np.sort(values, axis=None).tobytes()).hexdigest()


def test_the_table_covers_the_registrys_network_exactly():
    with torch.device("meta"):
        network = build(registered())
    layers = layers_of(registered())

    parts = {"conv2d": ["kernel"], "separable_conv2d": ["depthwise_kernel", "pointwise_kernel"]}
    statistics = ["gamma", "beta", "moving_mean", "moving_variance"]
    names = [
        f"{layer.module}.{OURS[part][0]}"
        for layer in layers
        for part in parts.get(layer.kind, statistics)
    ]
    assert len(names) == len(set(names)) == 234
    assert set(names) == backbone_names(network)
    assert len([layer for layer in layers if layer.name is None]) == 8


def by_names(path, found):
    return keras_files.write_by_names(path, found)


WAYS = {
    "older, without numbers at first": (0, by_names),
    "older, numbers from one": (1, by_names),
    "older, numbers past ten": (8, by_names),
    "older, with the top": (
        1,
        lambda path, found: keras_files.write_by_names(path, found | keras_files.top()),
    ),
    "older, made second in a session": (
        1,
        lambda path, found: keras_files.write_by_names(path, found, weight="{layer}_1/{part}_1:0"),
    ),
    "older, named as by Keras 1": (
        1,
        lambda path, found: keras_files.write_by_names(path, found, weight="{layer}_{part}_1:0"),
    ),
    "older, named as by Keras 3": (
        1,
        lambda path, found: keras_files.write_by_names(path, found, weight="{layer}/{part}"),
    ),
    "older, a whole model": (
        1,
        lambda path, found: keras_files.write_by_names(path, found, root="model_weights"),
    ),
    "older, inside another model": (0, keras_files.write_nested_by_names),
    "numbers": (0, keras_files.write_by_numbers),
    "numbers, with the top": (
        0,
        lambda path, found: keras_files.write_by_numbers(path, found | keras_files.top()),
    ),
    "numbers, as of Keras 2.13": (
        0,
        lambda path, found: keras_files.write_by_numbers(
            path, found, model="_layer_checkpoint_dependencies"
        ),
    ),
    "numbers and names": (
        9,
        lambda path, found: keras_files.write_by_numbers(path, found, named=True),
    ),
    "archive": (0, keras_files.write_archive),
    "archive, inside another model": (
        0,
        lambda path, found: keras_files.write_archive(
            path, found, model="layers/functional/layers", named=False
        ),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_saving_gives_the_same_tensors(weights, tmp_path, way):
    first, write = WAYS[way]

    read = read_keras(write(tmp_path / "any.name", keras_files.layers(first=first)), SPEC)

    assert read.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        assert torch.equal(read.tensors[name], tensor), name


def test_what_is_not_of_the_backbone_is_named_and_left(tmp_path, keras):
    path = keras_files.write_by_numbers(tmp_path / "x.h5", keras | keras_files.top())

    assert read_keras(path, SPEC).unused == (
        "layers/dense/vars/0",
        "layers/dense/vars/1",
        "optimizer/vars/0",
    )


def test_the_record_says_where_the_weights_are_from(tmp_path, keras):
    path = keras_files.write_archive(tmp_path / "x.keras", keras)

    import_keras(path, tmp_path / "out", classes=5, seed=3, spec=SPEC)

    record = json.loads((tmp_path / "out" / IMPORT_FILE).read_text())
    layers = record.pop("layers")
    assert layers["layers/separable_conv2d_15"] == "tail.sep2"
    assert len(layers) == len(keras)
    assert record == {
        "network": "xception",
        "spec": spec_hash(SPEC.model_copy(update={"head_units": 5})),
        "head": {"units": 5, "seed": 3},
        "source": {
            "file": "x.keras",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "layout": "vars",
            "keras_version": "3.3.3",
        },
        "unused": ["optimizer/vars/0"],
    }


def test_the_head_is_drawn_by_its_seed_and_the_backbone_is_not(tmp_path, keras):
    path = keras_files.write_by_names(tmp_path / "x.h5", keras)

    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        import_keras(path, tmp_path / name, classes=3, seed=seed, spec=SPEC)

    one, again, other = (load_file(tmp_path / name / WEIGHTS_FILE) for name in "abc")
    assert one["head.linear.weight"].shape == (3, 24)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert [name for name in one if not torch.equal(one[name], other[name])] == [
        "head.linear.weight"
    ]
    load_weights(build(SPEC.model_copy(update={"head_units": 3})), tmp_path / "a" / WEIGHTS_FILE)


def without(found, layer):
    return {name: parts for name, parts in found.items() if name != layer}


def changed(found, layer, part, change):
    return found | {layer: found[layer] | {part: change(found[layer][part])}}


def first_is(number):
    def change(values):
        new = values.copy()
        new.flat[0] = number
        return new

    return change


SPOILT = {
    "it has 21 layers of class batch_normalization, not 22": lambda found: without(
        found, "batch_normalization_1"
    ),
    "it has 5 layers of class conv2d, not 6": lambda found: without(found, "conv2d_1"),
    "it has 7 layers of class conv2d, not 6": lambda found: found | {"conv2d_9": found["conv2d"]},
    "it has 15 layers of class separable_conv2d, not 16": lambda found: without(
        found, "block5_sepconv2"
    ),
    "0 models in it have separable convolutions": lambda found: {"conv2d": found["conv2d"]},
    "'mine' is no layer of Xception": lambda found: (
        without(found, "block3_sepconv1") | {"mine": found["block3_sepconv1"]}
    ),
    "'block1_conv2' is missing": lambda found: (
        without(found, "block1_conv2") | {"conv2d_7": found["block1_conv2"]}
    ),
    "'a shortcut' is missing": lambda found: (
        without(found, "conv2d_3") | {"convolution2d_2": found["conv2d_3"]}
    ),
    "has the shape (3, 3, 6, 4), not (3, 3, 4, 6)": lambda found: changed(
        found, "block1_conv2", "kernel", lambda values: values.transpose(0, 1, 3, 2)
    ),
    "has the shape (25,), not (24,)": lambda found: changed(
        found, "block8_sepconv2_bn", "gamma", lambda values: np.append(values, np.float32(1))
    ),
    "is float64; save the model in float32": lambda found: changed(
        found, "conv2d", "kernel", np.float64
    ),
    "is float16; save": lambda found: changed(found, "conv2d", "kernel", np.float16),
    "is int32; save": lambda found: changed(found, "conv2d", "kernel", np.int32),
    "kernel of 'conv2d' holds numbers that no training leaves": lambda found: changed(
        found, "conv2d", "kernel", first_is(np.nan)
    ),
    "moving_variance of 'batch_normalization_2' holds numbers": lambda found: changed(
        found, "batch_normalization_2", "moving_variance", first_is(-1e-3)
    ),
}


@pytest.mark.parametrize("reason", SPOILT)
def test_weights_of_something_else_are_refused_and_nothing_is_written(tmp_path, keras, reason):
    path = keras_files.write_by_names(tmp_path / "x.h5", SPOILT[reason](keras))

    with pytest.raises(KerasFileError) as caught:
        import_keras(path, tmp_path / "out", classes=2, spec=SPEC)

    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["x.h5"]


def test_a_weight_too_many_is_refused(tmp_path, keras):
    path = keras_files.write_by_numbers(tmp_path / "x.h5", keras)
    with h5py.File(path, "a") as h5:
        h5["layers/conv2d/vars/1"] = np.zeros(4, np.float32)

    with pytest.raises(KerasFileError, match="do not have"):
        read_keras(path, SPEC)


def test_a_weight_too_few_is_refused(tmp_path, keras):
    path = keras_files.write_by_numbers(tmp_path / "x.h5", keras)
    with h5py.File(path, "a") as h5:
        del h5["layers/batch_normalization_3/vars/2"]

    with pytest.raises(KerasFileError, match=r"moving_mean of .*_3' is missing"):
        read_keras(path, SPEC)


def test_two_backbones_in_one_file_are_refused(tmp_path, keras):
    path = keras_files.write_by_numbers(tmp_path / "x.h5", keras)
    with h5py.File(path, "a") as h5:
        h5.copy("layers", "other")

    with pytest.raises(KerasFileError, match="2 models"):
        read_keras(path, SPEC)


def test_nothing_is_left_when_the_folder_is_taken(tmp_path, keras):
    path = keras_files.write_by_names(tmp_path / "x.h5", keras)
    (tmp_path / "out").write_text("mine")

    with pytest.raises(OSError, match="out"):
        import_keras(path, tmp_path / "out", classes=2, spec=SPEC)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "x.h5"]
    assert (tmp_path / "out").read_text() == "mine"


@pytest.fixture
def full_size(tmp_path):
    """Write the registry's network as Keras would, all ones; remove the large files in the end."""
    with torch.device("meta"):
        state = build(registered()).state_dict()
    found: dict[str, dict[str, np.ndarray]] = {}
    for number, layer in enumerate(layers_of(registered())):
        parts = found.setdefault(layer.name or f"{layer.kind}_{number}", {})
        for part in PARTS[layer.kind]:
            ours, axes = OURS[part]
            shape = state[f"{layer.module}.{ours}"].shape
            parts[part] = np.ones([shape[axes.index(axis)] for axis in sorted(axes)], np.float32)
    yield keras_files.write_by_names(tmp_path / "xception.h5", found)
    shutil.rmtree(tmp_path)


def test_the_command_imports_the_registrys_network(full_size, tmp_path, capsys):
    out = tmp_path / "imported"

    assert main(["import-keras", str(full_size), "--out", str(out), "--classes", "3"]) == 0

    said = " ".join(capsys.readouterr().out.split())
    assert "80 layers of Keras 2.2.4" in said
    assert sorted(file.name for file in out.iterdir()) == [IMPORT_FILE, WEIGHTS_FILE]
    tensors = load_file(out / WEIGHTS_FILE)
    assert tensors["head.linear.weight"].shape == (3, 2048)
    assert sum(tensor.numel() for tensor in tensors.values()) == 20_861_480 + 3 * 2049
    assert main(["import-keras", str(full_size), "--out", str(out)]) == 1
    assert "name a folder that does not" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [["--classes", "0"], ["--classes", "1001"], ["--seed", "-1"]])
def test_the_command_refuses_figures_out_of_bounds_as_usage(tmp_path, capsys, bad):
    assert main(["import-keras", "x.h5", "--out", str(tmp_path / "out"), *bad]) == 2
    assert bad[0] in capsys.readouterr().err


def test_the_command_says_in_one_line_what_is_wrong_with_a_file(tmp_path, capsys):
    (tmp_path / "x.h5").write_bytes(b"no weights")

    assert main(["import-keras", str(tmp_path / "x.h5"), "--out", str(tmp_path / "out")]) == 1

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "neither HDF5 nor a .keras archive; give keras.applications.Xception" in lines[0]
    assert not (tmp_path / "out").exists()
