"""How a box gets its identity, and a new one after the server stopped accepting the old.

An enrolment token is never kept: its SHA-256 is, so that the token that a revoked box was enrolled
with does not let it in again by itself.
"""

import hashlib

import structlog

from contract.device import DeviceProfile, Registration
from device_agent.errors import NotLetInError, StateError, SupersededError, TokenRefusedError
from device_agent.loop.box import Box
from device_agent.loop.state import Identity

log = structlog.get_logger()


def register(box: Box, profile: DeviceProfile) -> Identity:
    """Introduce the box by its enrolment token and keep who it is; raises NotLetInError."""
    settings = box.settings
    if settings.enrol_token is None:
        message = "this box is not enrolled; pass --enrol-token (an operator makes one)"
        raise NotLetInError(message)
    token = settings.enrol_token.get_secret_value()
    introduction = Registration(serial=settings.name, labels=settings.labels, profile=profile)
    answer = box.client.register(introduction, token)
    identity = Identity(
        device_id=answer.device_id,
        token=answer.token,
        server=settings.server,
        enrol_token_sha256=_sha256(token),
    )
    box.world.mark("registered")
    box.store.save_identity(identity)
    box.world.mark("identity saved")
    log.info("box_registered", device_id=identity.device_id, serial=settings.name)
    return identity


def enrol_once(box: Box) -> tuple[Identity, bool]:
    """Make sure that the server knows this box; return who it is, and whether that is new.

    A box that is enrolled asks the server whether its token still holds; only where it does not is
    it registered again. Raises NotLetInError, ServerAwayError, StateError.
    """
    identity = box.store.identity()
    if identity is None:
        return register(box, box.take_profile()), True
    box.client.token = own_identity(box, identity).token
    try:
        box.client.desired(None)
    except SupersededError:
        return identity, False
    except TokenRefusedError as exc:
        return register_again(box, box.take_profile(), exc), True
    return identity, False


def own_identity(box: Box, identity: Identity) -> Identity:
    """Return the identity; raises StateError where it belongs to another server."""
    if identity.server != box.settings.server:
        message = (
            f"this box belongs to {identity.server}, not {box.settings.server}; "
            "its token is not shown to another server: use another --state to enrol there"
        )
        raise StateError(message)
    return identity


def register_again(box: Box, profile: DeviceProfile, refusal: TokenRefusedError) -> Identity:
    """Register by an enrolment token that was not used before; raises NotLetInError without."""
    given = box.settings.enrol_token
    identity = box.store.identity()
    used = identity.enrol_token_sha256 if identity else None
    if given is None:
        raise NotLetInError(f"{refusal} {_advice('--enrol-token was not given')}") from refusal
    if used is None:
        why = "it is not known which enrolment token this box used; move identity.json away"
        raise NotLetInError(f"{refusal} {_advice(why)}") from refusal
    if _sha256(given.get_secret_value()) == used:
        why = "the enrolment token given is the one that this box used before"
        raise NotLetInError(f"{refusal} {_advice(why)}") from refusal
    log.warning("registering_again", reason=str(refusal))
    return register(box, profile)


def _advice(why: str) -> str:
    return (
        f"Not enrolled again: {why}. To let the box in, have an operator make a new enrolment "
        "token and start the agent with --enrol-token NEW; models and reports are kept."
    )


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
