"""Releases, the catalogue and the frontier."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from app.deps import NowDep, OperatorDep, RuntimeDep
from app.errors import NoReleaseError, NotFoundError, RetiredError
from app.routes.parameters import Limit, ReleaseCursor, ReleaseNumber, TaskFilter, VariantFilter
from app.routes.responses import BAD_NAME, BAD_PAGE, BUSY, FULL, access, bad, problems
from app.services import catalogue, views
from app.services.views import CatalogueView, FrontierView, Page, ReleaseView
from contract.release import Release

NO_SUCH = NotFoundError("release", 7)
RETIRED = RetiredError("release", 1)
BAD_NUMBER = bad("path", "number", "Input should be greater than or equal to 1")

router = APIRouter(prefix="/v1", tags=["releases"], responses=problems(*access("operator"), BUSY))


@router.get("/releases", summary="List releases", responses=problems(BAD_PAGE))
def list_releases(
    _: OperatorDep, runtime: RuntimeDep, limit: Limit = 50, cursor: ReleaseCursor = None
) -> Page[ReleaseView]:
    """List releases, the newest first. Boxes are on the newest that is not retired."""
    return runtime.read(views.release_page, cursor=cursor, limit=limit)


@router.get("/releases/{number}", summary="Show a release", responses=problems(NO_SUCH, BAD_NUMBER))
def get_release(_: OperatorDep, runtime: RuntimeDep, number: ReleaseNumber) -> Release:
    """Show a release in full: its variants, their files and measured points."""
    return runtime.read(catalogue.release, number)


@router.post(
    "/releases/{number}/retire",
    summary="Retire a release",
    responses=problems(NO_SUCH, RETIRED, BAD_NUMBER, BUSY, FULL),
)
async def retire_release(
    _: OperatorDep, runtime: RuntimeDep, now: NowDep, number: ReleaseNumber
) -> ReleaseView:
    """Retire a release: boxes go to the newest that remains, at their next poll."""
    await runtime.write(catalogue.retire, number, now)
    return await run_in_threadpool(runtime.read, views.release_summary, number)


@router.get(
    "/catalogue",
    summary="Variants of the current release",
    responses=problems(NoReleaseError()),
)
def get_catalogue(_: OperatorDep, runtime: RuntimeDep) -> CatalogueView:
    """Show the variants that boxes may be given."""
    return runtime.read(views.current_catalogue)


@router.get(
    "/frontier",
    summary="Measured points of the current release",
    responses=problems(NoReleaseError(), bad("query", "variant", BAD_NAME)),
)
def get_frontier(
    _: OperatorDep, runtime: RuntimeDep, variant: VariantFilter = None, task: TaskFilter = None
) -> FrontierView:
    """Show every measured point; `non_dominated` marks those that nothing beats in everything."""
    return runtime.read(views.frontier, variant=variant, task=task)
