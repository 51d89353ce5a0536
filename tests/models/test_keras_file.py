"""Files that are damaged or hostile: each is refused with one named error."""

import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest

from models.keras_file import (
    MAX_FILE_BYTES,
    MAX_MEMBERS,
    KerasFileError,
    RefusedError,
    open_keras,
    read,
)
from models.keras_weights import read_keras
from tests.models import keras_files
from tests.models.keras_files import SPEC, zip_up


class Trap:
    """Unpickling it would fail a test loudly."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.fixture
def h5_path(tmp_path):
    return keras_files.write_by_names(tmp_path / "x.h5", keras_files.layers())


@pytest.fixture
def numbered_path(tmp_path):
    return keras_files.write_by_numbers(tmp_path / "n.h5", keras_files.layers())


def refusal(path):
    with pytest.raises(KerasFileError) as caught:
        read_keras(path, SPEC)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert said.endswith(("publisher's", "as Keras saved it", "from Keras 2"))
    return said


@pytest.mark.parametrize("share", [0.0005, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(h5_path, share):
    content = h5_path.read_bytes()
    h5_path.write_bytes(content[: max(9, int(len(content) * share))])

    assert "cut short or damaged" in refusal(h5_path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9999])
def test_a_truncated_archive_is_refused(tmp_path, share):
    path = keras_files.write_archive(tmp_path / "x.keras", keras_files.layers())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    assert "cut short or damaged" in refusal(path)


def test_a_flipped_byte_in_an_archive_is_refused(tmp_path):
    path = keras_files.write_archive(tmp_path / "x.keras", keras_files.layers())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    assert "cut short or damaged" in refusal(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF", b"<html>not found</html>", pickle.dumps(Trap())]
)
def test_what_is_no_hdf5_is_refused_under_any_name(tmp_path, content):
    (tmp_path / "x.h5").write_bytes(content)

    assert "neither HDF5 nor a .keras archive" in refusal(tmp_path / "x.h5")


def test_a_pickle_in_an_archive_is_refused(tmp_path):
    path = zip_up(tmp_path / "x.keras", {"model.weights.h5": pickle.dumps(Trap())})

    assert "model.weights.h5 is not HDF5" in refusal(path)


def test_a_folder_is_refused(tmp_path):
    assert "not a file" in refusal(tmp_path)


def test_a_file_that_is_not_there_is_an_error_of_the_machine(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_keras(tmp_path / "x.h5", SPEC)


def test_a_file_over_the_bound_is_refused_unread(tmp_path):
    with (tmp_path / "x.h5").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    assert "are more than" in refusal(tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:/x"])
def test_an_archive_with_a_path_that_leads_out_of_it_is_refused(tmp_path, name):
    path = zip_up(tmp_path / "x.keras", {"model.weights.h5": b"", name: b"x"})

    assert "leads out of it" in refusal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.keras"]


def test_an_archive_of_too_many_files_is_refused(tmp_path):
    path = zip_up(tmp_path / "x.keras", {f"assets/{n}": b"" for n in range(MAX_MEMBERS)})

    assert "too many files" in refusal(path)


def test_an_archive_that_holds_a_name_twice_is_refused(tmp_path):
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"a")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model.weights.h5", b"b")

    assert "or one twice" in refusal(path)


def test_an_archive_without_weights_is_refused(tmp_path):
    assert "holds no model.weights.h5" in refusal(zip_up(tmp_path / "x.keras", {}))


def test_a_packing_that_keras_does_not_use_is_refused(tmp_path):
    path = zip_up(tmp_path / "x.keras", {"model.weights.h5": b"x"}, zipfile.ZIP_LZMA)

    assert "packed in a way" in refusal(path)


def with_declared_size(path, size_bytes):
    """Let the archive's index say another unpacked size of its last member."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, size_bytes)
    path.write_bytes(content)
    return path


def test_an_archive_that_would_unpack_to_too_much_is_refused(tmp_path):
    path = zip_up(tmp_path / "x.keras", {"model.weights.h5": bytes(9)}, zipfile.ZIP_DEFLATED)

    assert "unpacked it is over" in refusal(with_declared_size(path, MAX_FILE_BYTES + 1))


def test_an_archive_that_holds_more_than_it_says_is_refused(tmp_path):
    path = zip_up(tmp_path / "x.keras", {"model.weights.h5": bytes(2**20)}, zipfile.ZIP_DEFLATED)

    assert "cut short or damaged" in refusal(with_declared_size(path, 100))


def test_metadata_that_is_no_version_counts_as_none(tmp_path):
    path = keras_files.write_archive(tmp_path / "x.keras", keras_files.layers())
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    for text in ("[]", '{"keras_version": 3}', '{"keras_version": "<b>"}'):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", text)
            archive.writestr("model.weights.h5", weights)

        assert read_keras(path, SPEC).keras_version is None


@pytest.mark.parametrize("text", ["[" * 60_000, "{", " " * 70_000])
def test_metadata_that_is_no_json_or_too_long_is_refused(tmp_path, text):
    path = tmp_path / "x.keras"
    weights = keras_files.write_by_numbers(tmp_path / "n.h5", keras_files.layers()).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", text)
        archive.writestr("model.weights.h5", weights)

    refusal(path)


def replaced(path, name, make):
    """Put something else in the place of a dataset or group."""
    with h5py.File(path, "a") as h5:
        del h5[name]
        make(h5, name)


KERNEL = "conv2d/conv2d/kernel:0"
SHAPE = (1, 1, 6, 8)


@pytest.mark.parametrize(
    "link",
    [
        h5py.SoftLink("/conv2d_1/conv2d_1/kernel:0"),
        h5py.ExternalLink("secret.h5", "/kernel"),
        h5py.ExternalLink("/nowhere", "/"),
    ],
)
def test_a_link_is_refused_and_not_followed(h5_path, link):
    replaced(h5_path, KERNEL, lambda h5, name: h5.__setitem__(name, link))

    assert "is a link to somewhere else" in refusal(h5_path)


def test_a_linked_group_is_refused(h5_path):
    link = h5py.ExternalLink("secret.h5", "/")
    replaced(h5_path, "block1_conv1", lambda h5, name: h5.__setitem__(name, link))

    assert "is a link to somewhere else" in refusal(h5_path)


def outside(h5, name):
    secret = h5.filename.replace("x.h5", "secret")
    h5.create_dataset(name, SHAPE, "f4", external=[(secret, 0, h5py.h5f.UNLIMITED)])


def virtual(h5, name):
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[...] = h5py.VirtualSource("secret.h5", "kernel", SHAPE)
    h5.create_virtual_dataset(name, layout)


def bomb(h5, name):
    h5.create_dataset(name, (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")


def packed(h5, name):
    h5.create_dataset(name, data=np.zeros(SHAPE, "f4"), compression="gzip")


@pytest.mark.parametrize("make", [outside, virtual, bomb, packed])
def test_a_dataset_that_is_not_plainly_in_the_file_is_refused(h5_path, make):
    (h5_path.parent / "secret").write_bytes(bytes(4 * 48))
    replaced(h5_path, KERNEL, make)

    assert "outside the file or compressed" in refusal(h5_path)


def test_a_dataset_that_was_never_written_is_refused(h5_path):
    replaced(h5_path, KERNEL, lambda h5, name: h5.create_dataset(name, SHAPE, "f4"))

    assert "fewer numbers than it says" in refusal(h5_path)


def test_a_dataset_of_an_enormous_shape_is_refused_unread(h5_path):
    replaced(h5_path, KERNEL, lambda h5, name: h5.create_dataset(name, (2**24, 2**24), "f4"))

    assert "has the shape" in refusal(h5_path)


@pytest.mark.parametrize("dtype", [h5py.string_dtype(), np.dtype([("a", "f4")]), "V4"])
def test_a_dataset_of_no_numbers_is_refused(h5_path, dtype):
    replaced(h5_path, KERNEL, lambda h5, name: h5.create_dataset(name, SHAPE, dtype))

    assert "kernel of 'conv2d' is " in refusal_of_type(h5_path)


def refusal_of_type(path):
    with pytest.raises(KerasFileError) as caught:
        read_keras(path, SPEC)
    assert str(caught.value).endswith("; save the model in float32")
    return str(caught.value)


def test_a_group_that_holds_itself_is_refused(h5_path):
    with h5py.File(h5_path, "a") as h5:
        h5["block1_conv1/again"] = h5["block1_conv1"]

    assert "is in it twice" in refusal(h5_path)


def test_a_dataset_under_two_names_is_refused(h5_path):
    replaced(h5_path, KERNEL, lambda h5, name: h5.__setitem__(name, h5["block1_conv1_bn"]))

    assert "is in it twice" in refusal(h5_path)


def test_groups_too_deep_are_refused(h5_path):
    with h5py.File(h5_path, "a") as h5:
        h5.create_group("/".join("abcdefghijklmnop"))

    assert "holds too much" in refusal(h5_path)


def test_a_name_that_is_too_long_is_refused(h5_path):
    with h5py.File(h5_path, "a") as h5:
        h5.create_group("x" * 201)

    assert "is no name that Keras gives" in refusal(h5_path)


@pytest.mark.parametrize("name", [b"../x", b"a//x"])
def test_a_name_that_is_a_path_is_refused(h5_path, name):
    with h5py.File(h5_path, "a") as h5:
        h5.create_group("alone/~~~~")
    content = h5_path.read_bytes()
    assert content.count(b"~~~~") == 1
    h5_path.write_bytes(content.replace(b"~~~~", name))

    assert "is no name that Keras gives" in refusal(h5_path)


def test_a_named_type_is_refused(h5_path):
    with h5py.File(h5_path, "a") as h5:
        h5["kind"] = np.dtype("f4")

    assert "neither a group nor a dataset" in refusal(h5_path)


def test_a_layer_with_two_weights_for_one_purpose_is_refused(h5_path):
    with h5py.File(h5_path, "a") as h5:
        h5["conv2d/conv2d/kernel_1:0"] = np.zeros(SHAPE, "f4")

    assert "two weights for one purpose" in refusal(h5_path)


def test_a_layer_with_half_its_weights_counts_as_none(h5_path):
    with h5py.File(h5_path, "a") as h5:
        del h5["batch_normalization/batch_normalization/beta:0"]

    assert "21 layers of class batch_normalization, not 22" in refusal(h5_path)


def test_kernels_of_theano_are_refused(h5_path):
    with h5py.File(h5_path, "a") as h5:
        h5.attrs["backend"] = b"theano"

    assert "turned round" in refusal(h5_path)


def test_a_name_that_is_no_word_is_no_name(numbered_path):
    with h5py.File(numbered_path, "a") as h5:
        h5["layers/conv2d/vars"].attrs["name"] = "<script>"
        h5["layers/conv2d_1/vars"].attrs["name"] = [1, 2]

    assert len(read_keras(numbered_path, SPEC).layers) == 44


def test_a_refusal_while_the_file_is_open_names_the_file(numbered_path):
    with pytest.raises(KerasFileError, match="not today"), open_keras(numbered_path):
        raise RefusedError("not today")


def test_weights_are_read_as_float32_of_either_byte_order(numbered_path):
    values = np.arange(24, dtype=">f4")
    replaced(
        numbered_path, "layers/batch_normalization_21/vars/0",
        lambda h5, name: h5.create_dataset(name, data=values),
    )  # fmt: skip

    with open_keras(numbered_path) as file:
        layer = file.models["layers"][21]
        gamma = read(layer, "gamma", (24,))

    assert gamma.dtype == np.float32
    assert gamma.tolist() == list(range(24))
