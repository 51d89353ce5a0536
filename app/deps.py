"""What routes ask for: the runtime, the time, the caller behind a bearer token."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.runtime import Runtime
from app.services.tokens import Caller, Kind, authenticate

bearer = HTTPBearer(
    scheme_name="Bearer",
    auto_error=False,
    description="An operator token (`paretofleet token operator`), a device token (given at "
    "registration) or an enrolment token (`paretofleet token enrol`).",
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


def get_runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]


def _now(runtime: RuntimeDep) -> datetime:
    return runtime.clock()


NowDep = Annotated[datetime, Depends(_now)]


def _caller(runtime: Runtime, bearer: Bearer, needed: tuple[Kind, ...]) -> Caller:
    token = bearer.credentials if bearer else None
    return runtime.read(authenticate, token, needed, runtime.clock())


def _operator(runtime: RuntimeDep, bearer: Bearer) -> Caller:
    return _caller(runtime, bearer, ("operator",))


def _enroller(runtime: RuntimeDep, bearer: Bearer) -> Caller:
    return _caller(runtime, bearer, ("enrol",))


def _device_or_operator(runtime: RuntimeDep, bearer: Bearer) -> Caller:
    return _caller(runtime, bearer, ("device", "operator"))


OperatorDep = Annotated[Caller, Depends(_operator)]
EnrollerDep = Annotated[Caller, Depends(_enroller)]
DeviceOrOperatorDep = Annotated[Caller, Depends(_device_or_operator)]
