"""The one settings object: where values come from, what is refused, what stays secret."""

import pytest
from pydantic import ValidationError

from device_agent.settings import AgentSettings


def test_sizes_and_files_are_understood(tmp_path):
    token = tmp_path / "token"
    token.write_text("from-a-file\n")
    settings = AgentSettings(ram_cap="256MB", enrol_token=str(token))

    assert settings.ram_cap == 256_000_000
    assert settings.enrol_token.get_secret_value() == "from-a-file"


def test_the_environment_fills_what_the_command_line_leaves(monkeypatch):
    monkeypatch.setenv("PARETOFLEET_AGENT_RAM_CAP", "4GB")
    monkeypatch.setenv("PARETOFLEET_AGENT_SERVER", "http://env:1/")

    assert AgentSettings().ram_cap == 4_000_000_000
    assert AgentSettings().server == "http://env:1"
    assert AgentSettings(server="http://cli:2").server == "http://cli:2"


def test_a_token_never_shows_in_text():
    settings = AgentSettings(enrol_token="canary-secret")  # noqa: S106

    assert "canary" not in repr(settings)
    assert "canary" not in str(settings)


def test_what_it_does_not_know_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        AgentSettings(rm_cap="4GB")
    with pytest.raises(ValidationError, match="write it like"):
        AgentSettings(server="fleet:8000")


def test_it_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        AgentSettings().server = "http://other"


def test_the_allowance_is_a_constant_for_a_way_of_running():
    assert AgentSettings().allowance_bytes == 80_000_000
    assert AgentSettings(serve_port=0).allowance_bytes == 128_000_000


def test_every_field_explains_itself():
    assert all(field.description for field in AgentSettings.model_fields.values())
