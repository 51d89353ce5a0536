"""Expected failures: each knows its HTTP status and tells the caller what to do.

Nothing here speaks HTTP beyond the status number: ``app.problems`` renders these as RFC 9457
problem details.
"""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

from contract.problem import FieldProblem


class FleetError(Exception):
    """The base: ``kind`` names the type of problem in URLs-to-be and in tests."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str, *, errors: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that go with the answer."""
        return {}


class UnauthenticatedError(FleetError):
    status = HTTPStatus.UNAUTHORIZED
    kind = "unauthenticated"
    title = "A valid bearer token is needed"

    def __init__(self, needed: str = "device") -> None:
        super().__init__(
            f"Send 'Authorization: Bearer <{needed} token>'. The token is missing, unknown, "
            "expired or revoked."
        )

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenError(FleetError):
    status = HTTPStatus.FORBIDDEN
    kind = "forbidden"
    title = "This token may not do that"

    def __init__(self, kind: str, needed: str) -> None:
        super().__init__(f"This is a token of kind '{kind}'; the route needs '{needed}'.")


class ImagesMayNotLeaveError(FleetError):
    status = HTTPStatus.FORBIDDEN
    kind = "images-may-not-leave"
    title = "The policy keeps images on the box"

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"Policy '{policy}' does not let images leave this box. An operator can allow it with "
            "a new version that sets images_may_leave."
        )


class EnrolmentUsedUpError(FleetError):
    status = HTTPStatus.FORBIDDEN
    kind = "enrolment-used-up"
    title = "The enrolment token is used up"

    def __init__(self) -> None:
        super().__init__(
            "Every use of this enrolment token is taken. Ask an operator for a new one: "
            "paretofleet token enrol --uses N."
        )


class SerialTakenError(FleetError):
    status = HTTPStatus.CONFLICT
    kind = "serial-taken"
    title = "This serial is already registered"

    def __init__(self, serial: str) -> None:
        super().__init__(
            f"A box with serial '{serial}' was registered with another enrolment token. An "
            "operator can free the serial: POST /v1/devices/{device_id}/revoke."
        )


class NotFoundError(FleetError):
    status = HTTPStatus.NOT_FOUND
    kind = "not-found"
    title = "There is no such thing"

    def __init__(self, what: str, name: object) -> None:
        super().__init__(f"There is no {what} '{name}'.")


class AlreadyExistsError(FleetError):
    status = HTTPStatus.CONFLICT
    kind = "already-exists"
    title = "This name is taken"

    def __init__(self, what: str, name: object) -> None:
        super().__init__(f"There is already a {what} '{name}'; choose another name.")


class RetiredError(FleetError):
    status = HTTPStatus.CONFLICT
    kind = "retired"
    title = "This is retired"

    def __init__(self, what: str, name: object) -> None:
        super().__init__(f"The {what} '{name}' is retired and cannot change any more.")


class ImpossiblePolicyError(FleetError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "impossible-policy"
    title = "No point of the current release can meet this policy"

    def __init__(self, errors: tuple[FieldProblem, ...]) -> None:
        super().__init__(" ".join(e.message for e in errors), errors=errors)


class InvalidInputError(FleetError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "invalid-input"
    title = "The request is not valid"


class UnsupportedImageError(FleetError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    kind = "unsupported-image"
    title = "Send one PNG or JPEG image"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail} Send the image itself as image/png or image/jpeg.")


class TooLargeError(FleetError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    kind = "too-large"
    title = "The request is too large"


class RangeNotSatisfiableError(FleetError):
    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    kind = "range-not-satisfiable"
    title = "The range lies outside the file"

    def __init__(self, length_bytes: int) -> None:
        super().__init__(f"The file has {length_bytes} bytes; ask for a range within them.")
        self.length_bytes = length_bytes

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Range": f"bytes */{self.length_bytes}"}


class NoReleaseError(FleetError):
    status = HTTPStatus.CONFLICT
    kind = "no-release"
    title = "No release is loaded"

    def __init__(self) -> None:
        super().__init__("Load one first: paretofleet release load DIR.")


class BusyError(FleetError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "busy"
    title = "The server is busy"

    def __init__(self, what: str, retry_after_s: int = 2) -> None:
        super().__init__(f"{what} Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class DatabaseFullError(BusyError):
    """Nothing can be stored until somebody makes room: callers keep what they have and wait."""

    kind = "database-full"
    title = "The server's database has no room left"

    def __init__(self, retry_after_s: int = 60) -> None:
        super().__init__(
            "Nothing was stored. An administrator must make room on the disk of the database.",
            retry_after_s,
        )


class BadReleaseError(FleetError):
    """A release folder that cannot be loaded; raised to the command line, not over HTTP."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "bad-release"
    title = "The release cannot be loaded"


class StorageFullError(FleetError):
    status = HTTPStatus.INSUFFICIENT_STORAGE
    kind = "storage-full"
    title = "The server's disk is full"

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"No room is left for a file in {folder}; nothing was kept of it. Make room or raise "
            "the limit, then do the same again."
        )
        self.folder = folder


class DatabaseUrlError(FleetError):
    """A database URL that no driver here can be made for; it is not shown: it holds a password."""

    kind = "database-url"
    title = "PARETOFLEET_DATABASE_URL is not usable"

    def __init__(self) -> None:
        super().__init__(
            "Use sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME (special "
            "characters of the password percent-encoded), or unset it: SQLite in the data folder."
        )


class DatabaseUnavailableError(FleetError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "database-unavailable"
    title = "The database cannot be used"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"{where}: {why.rstrip('.')}. Check that it runs and that PARETOFLEET_DATABASE_URL and "
            "PARETOFLEET_DATA_DIR are right."
        )


class UnreadablePolicyError(FleetError):
    """A policy file that cannot be read; raised to the command line, not over HTTP."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "unreadable-policy"
    title = "The policy file cannot be read"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}. Name a JSON file with the policy's body, or '-'.")


class SchemaOutOfDateError(FleetError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "schema-out-of-date"
    title = "The database schema is not the one this program needs"

    def __init__(self, found: str | None, needed: str | None) -> None:
        super().__init__(f"Found {found or 'nothing'}, need {needed}. Run: paretofleet migrate")
