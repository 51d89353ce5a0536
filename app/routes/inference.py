"""Cloud inference: one image in, one prediction out."""

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from app.deps import DeviceOrOperatorDep, RuntimeDep
from app.errors import (
    ImagesMayNotLeaveError,
    NoReleaseError,
    NotFoundError,
    TooLargeError,
    UnsupportedImageError,
)
from app.examples import fleet
from app.routes.parameters import VariantFilter
from app.routes.responses import BAD_NAME, BUSY, access, bad, problems
from app.runtime import Runtime
from app.services import cloud
from app.services.tokens import Caller
from contract.inference import Prediction
from contract.release import Variant

MEDIA_TYPES = ("image/png", "image/jpeg")
IMAGE = {"schema": {"type": "string", "format": "binary"}}

UNREADABLE = "This is not a readable PNG or JPEG image."
router = APIRouter(prefix="/v1", tags=["inference"])


@router.post(
    "/inference",
    summary="Classify one image",
    responses=problems(
        *access("device or operator", other="enrol"),
        ImagesMayNotLeaveError(fleet.POLICY_NAME),
        NotFoundError("variant", "rx-xl-512"),
        NoReleaseError(),
        TooLargeError("Bodies here have at most 16777216 bytes."),
        UnsupportedImageError(UNREADABLE),
        bad("query", "variant", BAD_NAME),
        BUSY,
    ),
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, IMAGE)}},
)
async def infer(
    request: Request,
    caller: DeviceOrOperatorDep,
    runtime: RuntimeDep,
    variant: VariantFilter = None,
) -> Prediction:
    """Classify a PNG or JPEG with the current release's most accurate variant, or `variant`.

    A box may ask only where its policy lets images leave.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedImageError("The body is not declared as an image.")
    number, chosen = await run_in_threadpool(_variant, runtime, caller, variant)
    image = await request.body()
    return await runtime.predictor.predict(image, chosen, number)


def _variant(runtime: Runtime, caller: Caller, name: str | None) -> tuple[int, Variant]:
    return runtime.read(cloud.variant_for, caller, name)
