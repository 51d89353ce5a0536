"""Policies: what an operator asks of the boxes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body

from app.deps import NowDep, OperatorDep, ReadTx, WriteTx
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
def create_policy(
    _: OperatorDep,
    tx: WriteTx,
    now: NowDep,
    policy: Annotated[PolicyCreate, Body(openapi_examples=POLICY_CREATE)],
) -> PolicyView:
    """Create a policy.

    One that no point of the current release can meet is refused (422); the answer names the
    nearest value.
    """
    body = PolicyBody.model_validate(policy.model_dump(exclude={"name"}))
    return views.policy(policies.create(tx, policy.name, body, now))


@router.get("", summary="List policies")
def list_policies(
    _: OperatorDep, tx: ReadTx, limit: Limit = 50, cursor: TextCursor = None
) -> Page[PolicyView]:
    """List policies by name, retired ones too."""
    return views.policy_page(tx, cursor=cursor, limit=limit)


@router.get("/{name}", summary="Show a policy", responses=problems(404))
def get_policy(_: OperatorDep, tx: ReadTx, name: PolicyName) -> PolicyHistoryView:
    """Show a policy and every version it had."""
    return views.policy_history(tx, name)


@router.post(
    "/{name}/versions",
    summary="Change a policy",
    status_code=HTTPStatus.CREATED,
    responses=problems(404, 409, 413),
)
def add_version(
    _: OperatorDep,
    tx: WriteTx,
    now: NowDep,
    name: PolicyName,
    body: Annotated[PolicyBody, Body(openapi_examples=POLICY_VERSION)],
) -> PolicyView:
    """Give a policy a new version. Versions never change; boxes follow at their next poll."""
    return views.policy(policies.new_version(tx, name, body, now))


@router.post("/{name}/retire", summary="Retire a policy", responses=problems(404, 409))
def retire_policy(_: OperatorDep, tx: WriteTx, now: NowDep, name: PolicyName) -> PolicyView:
    """Retire a policy: its boxes go to the next one that matches."""
    return views.policy(policies.retire(tx, name, now))
