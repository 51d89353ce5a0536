"""A box that the server no longer lets in, and the way back."""

import pytest
from pydantic import SecretStr

from device_agent.errors import NotLetInError


def revoke(fleet) -> None:
    fleet.enrol_token, fleet.device_token = "second-enrol-token", "second-device-token"


def test_a_revoked_box_registers_again_by_a_new_enrolment_token(open_box, fleet, settings):
    open_box().run_once()
    revoke(fleet)
    agent = open_box("crash")
    given = settings.model_copy(update={"enrol_token": SecretStr("second-enrol-token")})
    object.__setattr__(agent.box, "settings", given)

    assert agent.run_once() == "active"
    assert fleet.registered == 2
    kept = (settings.state / "identity.json").read_text()
    assert "second-device-token" in kept
    assert "enrol-token" not in kept


def test_a_revoked_box_never_uses_its_old_enrolment_token_again(open_box, fleet):
    open_box().run_once()
    fleet.device_token = "second-device-token"  # noqa: S105 - a test's own

    with pytest.raises(NotLetInError, match=r"used before.*--enrol-token NEW"):
        open_box().run_once()
    assert fleet.registered == 1
