"""A release: an immutable, numbered set of variants and their measured points."""

from typing import Literal

from contract.architecture import ArchitectureSpec
from contract.base import ByteCount, Label, Message, Name, Positive, Sha256, Text, Version
from contract.measurement import FrontierPoint
from contract.reference import ReferenceStatistics

ArtifactKind = Literal["weights", "inference", "train_graph"]


class Artifact(Message):
    """A content-addressed file: ``files/<sha256>`` in a release folder, so a name cannot lie."""

    kind: ArtifactKind
    sha256: Sha256
    length_bytes: ByteCount


class TrainGraph(Message):
    """The training-step graph of one scope.

    The file holds nodes only. ``trainable`` parameters are its inputs; ``frozen`` ones are added
    as initialisers from the weights file when it is loaded, so they are shipped once and
    onnxruntime can fold them.
    """

    cut: Name
    artifact: Artifact
    trainable: tuple[Label, ...]
    frozen: tuple[Label, ...]


class Variant(Message):
    """A network with weights: spec, artifacts and lineage.

    ``reference`` says how the images that it was trained on look; None where nobody measured it.
    """

    name: Name
    spec: ArchitectureSpec
    classes: tuple[Label, ...]
    parameters: Positive
    blocks: tuple[Name, ...]
    weights: Artifact
    inference: Artifact
    train_graphs: tuple[TrainGraph, ...]
    lineage: dict[Label, Text]
    reference: ReferenceStatistics | None = None

    def artifacts_for(self, cut: str) -> tuple[Artifact, ...]:
        """Return the files a box needs to train ``cut``; raises KeyError for an unknown cut."""
        graphs = {graph.cut: graph.artifact for graph in self.train_graphs}
        return (self.weights, self.inference, graphs[cut])


class Release(Message):
    """An immutable release. ``number`` grows; a device is on exactly one."""

    schema_version: Literal[1] = 1
    number: Version
    title: Label
    task: Name
    made_by: Text
    variants: tuple[Variant, ...]
    points: tuple[FrontierPoint, ...]

    def variant(self, name: str) -> Variant:
        """Return the variant called ``name``; raises KeyError when there is none."""
        return {variant.name: variant for variant in self.variants}[name]

    def artifacts(self) -> dict[str, Artifact]:
        """Return every file of the release, by SHA-256."""
        files = [a for v in self.variants for a in (v.weights, v.inference)]
        files += [g.artifact for v in self.variants for g in v.train_graphs]
        return {artifact.sha256: artifact for artifact in files}
