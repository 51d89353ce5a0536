"""Policies: what an operator asks of the boxes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body

from app.deps import NowDep, OperatorDep, RuntimeDep
from app.domain.policy_check import impossibilities
from app.errors import (
    AlreadyExistsError,
    ImpossiblePolicyError,
    NotFoundError,
    RetiredError,
)
from app.examples import POLICY_CREATE, POLICY_VERSION, fleet
from app.routes.parameters import Limit, PolicyName, TextCursor
from app.routes.responses import (
    BAD_NAME,
    BAD_PAGE,
    BAD_POLICY,
    BUSY,
    FULL,
    TOO_LARGE,
    access,
    bad,
    problems,
)
from app.services import policies, views
from app.services.views import Page, PolicyHistoryView, PolicyView
from contract.policy import PolicyBody, PolicyCreate

NO_POLICY = NotFoundError("policy", fleet.POLICY_NAME)
TAKEN = AlreadyExistsError("policy", fleet.POLICY_NAME)
RETIRED = RetiredError("policy", fleet.POLICY_NAME)
IMPOSSIBLE = ImpossiblePolicyError(
    impossibilities(fleet.POLICY.model_copy(update={"accuracy_floor": 0.9}), fleet.POINTS)
)
BAD_POLICY_NAME = bad("path", "name", BAD_NAME)

router = APIRouter(
    prefix="/v1/policies", tags=["policies"], responses=problems(*access("operator"), BUSY)
)


@router.post(
    "",
    summary="Create a policy",
    status_code=HTTPStatus.CREATED,
    responses=problems(TAKEN, TOO_LARGE, BAD_POLICY, IMPOSSIBLE, BUSY, FULL),
)
async def create_policy(
    _: OperatorDep,
    runtime: RuntimeDep,
    now: NowDep,
    policy: Annotated[PolicyCreate, Body(openapi_examples=POLICY_CREATE)],
) -> PolicyView:
    """Create a policy.

    One that no point of the current release can meet is refused (422); the answer names the
    nearest value.
    """
    body = PolicyBody.model_validate(policy.model_dump(exclude={"name"}))
    return views.policy(await runtime.write(policies.create, policy.name, body, now))


@router.get("", summary="List policies", responses=problems(BAD_PAGE))
def list_policies(
    _: OperatorDep, runtime: RuntimeDep, limit: Limit = 50, cursor: TextCursor = None
) -> Page[PolicyView]:
    """List policies by name, retired ones too."""
    return runtime.read(views.policy_page, cursor=cursor, limit=limit)


@router.get("/{name}", summary="Show a policy", responses=problems(NO_POLICY, BAD_POLICY_NAME))
def get_policy(_: OperatorDep, runtime: RuntimeDep, name: PolicyName) -> PolicyHistoryView:
    """Show a policy and every version it had."""
    return runtime.read(views.policy_history, name)


@router.post(
    "/{name}/versions",
    summary="Change a policy",
    status_code=HTTPStatus.CREATED,
    responses=problems(NO_POLICY, RETIRED, TOO_LARGE, BAD_POLICY, IMPOSSIBLE, BUSY, FULL),
)
async def add_version(
    _: OperatorDep,
    runtime: RuntimeDep,
    now: NowDep,
    name: PolicyName,
    body: Annotated[PolicyBody, Body(openapi_examples=POLICY_VERSION)],
) -> PolicyView:
    """Give a policy a new version. Versions never change; boxes follow at their next poll."""
    return views.policy(await runtime.write(policies.new_version, name, body, now))


@router.post(
    "/{name}/retire",
    summary="Retire a policy",
    responses=problems(NO_POLICY, RETIRED, BAD_POLICY_NAME, BUSY, FULL),
)
async def retire_policy(
    _: OperatorDep, runtime: RuntimeDep, now: NowDep, name: PolicyName
) -> PolicyView:
    """Retire a policy: its boxes go to the next one that matches."""
    return views.policy(await runtime.write(policies.retire, name, now))
