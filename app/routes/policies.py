"""Policies: what an operator asks of the boxes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body

from app.deps import NowDep, OperatorDep, RuntimeDep
from app.examples import POLICY_CREATE, POLICY_VERSION
from app.routes.parameters import Limit, PolicyName, TextCursor
from app.routes.responses import problems
from app.services import policies, views
from app.services.views import Page, PolicyHistoryView, PolicyView
from contract.policy import PolicyBody, PolicyCreate

router = APIRouter(prefix="/v1/policies", tags=["policies"], responses=problems(401, 403, 422, 503))


@router.post(
    "",
    summary="Create a policy",
    status_code=HTTPStatus.CREATED,
    responses=problems(409, 413),
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


@router.get("", summary="List policies")
def list_policies(
    _: OperatorDep, runtime: RuntimeDep, limit: Limit = 50, cursor: TextCursor = None
) -> Page[PolicyView]:
    """List policies by name, retired ones too."""
    return runtime.read(views.policy_page, cursor=cursor, limit=limit)


@router.get("/{name}", summary="Show a policy", responses=problems(404))
def get_policy(_: OperatorDep, runtime: RuntimeDep, name: PolicyName) -> PolicyHistoryView:
    """Show a policy and every version it had."""
    return runtime.read(views.policy_history, name)


@router.post(
    "/{name}/versions",
    summary="Change a policy",
    status_code=HTTPStatus.CREATED,
    responses=problems(404, 409, 413),
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


@router.post("/{name}/retire", summary="Retire a policy", responses=problems(404, 409))
async def retire_policy(
    _: OperatorDep, runtime: RuntimeDep, now: NowDep, name: PolicyName
) -> PolicyView:
    """Retire a policy: its boxes go to the next one that matches."""
    return views.policy(await runtime.write(policies.retire, name, now))
