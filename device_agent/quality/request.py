"""What to look at, and the little that an agent hears of it. Light: values only."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from contract.base import Message, Sha256, Text
from contract.reference import ReferenceStatistics
from contract.release import Artifact, Variant
from contract.report import DataQualityBody


class CheckRequest(Message):
    """Folders, and what the assigned variant offers: its network, its input, its reference.

    ``model`` is the release's inference graph; without it no label is judged. ``model_sha256``
    names the bytes that it must have.
    """

    data: Path
    test_data: Path | None = None
    model: Path | None = None
    model_sha256: Sha256 | None = None
    input_px: Annotated[int, Field(ge=1, le=4096)] | None = None
    in_channels: Annotated[int, Field(ge=1, le=16)] = 3
    reference: ReferenceStatistics | None = None


class CheckSummary(Message):
    """What is reported, and whether to train; ``refusal`` says what is missing where not."""

    body: DataQualityBody
    trainable: bool
    refusal: Text


def request_for(
    data: Path,
    test_data: Path | None,
    variant: Variant | None,
    place_of: Callable[[Artifact], Path],
) -> CheckRequest:
    """Return the request under a variant; ``place_of`` says where a file of it would lie."""
    if variant is None:
        return CheckRequest(data=data, test_data=test_data)
    model = place_of(variant.inference)
    return CheckRequest(
        data=data,
        test_data=test_data,
        model=model if model.is_file() else None,
        model_sha256=variant.inference.sha256,
        input_px=variant.spec.input_px,
        in_channels=variant.spec.in_channels,
        reference=variant.reference,
    )
