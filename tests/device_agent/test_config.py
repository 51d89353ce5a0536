"""Settings from file, environment and command line: who wins, who is blamed, what stays secret."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from device_agent import config
from device_agent.cli import app
from device_agent.config import find_file, flag_of, gather, is_path, is_secret, read_file, salvage
from device_agent.errors import BadSettingError
from device_agent.settings import AgentSettings

CANARY = "canary-enrol-token"
LAYERS = ("file", "environment", "flag")
NAMED = {"poll_s": "7.0", "threads": "3", "server": "http://one", "ram_cap": "5000000"}


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_file_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "etc" / "agent.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PARETOFLEET_AGENT_CONFIG", raising=False)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(NAMED)), st.sets(st.sampled_from(LAYERS)), min_size=1)
)
def test_the_strongest_layer_that_says_something_wins(tmp_path_factory, said):
    values = {
        layer: {name: _value(name, layer) for name, layers in said.items() if layer in layers}
        for layer in LAYERS
    }
    file = write(
        tmp_path_factory.mktemp("c"),
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in values["file"].items()),
    )
    environment = {config.PREFIX + n.upper(): str(v) for n, v in values["environment"].items()}
    with mock.patch.dict(os.environ, environment):
        effective = gather(values["flag"], file)

    for name, layers in said.items():
        strongest = max(layers, key=LAYERS.index, default="default")
        assert effective.origins[name] == strongest
        if layers:
            assert str(getattr(effective.settings, name)) == str(_value(name, strongest))


def _value(name: str, layer: str):
    number = LAYERS.index(layer) + 2
    kinds = {"poll_s": float(number), "threads": number, "ram_cap": number * 10**6}
    return kinds.get(name, f"http://{layer}")


def test_labels_of_all_layers_are_put_together(tmp_path, monkeypatch):
    monkeypatch.setenv("PARETOFLEET_AGENT_LABELS", '{"line": "env", "site": "env"}')
    file = write(tmp_path, '[labels]\nline = "file"\nhall = "file"\n')

    labels = gather({"labels": {"line": "flag"}}, file).settings.labels

    assert labels == {"line": "flag", "site": "env", "hall": "file"}


def test_an_unknown_key_is_an_error_that_names_file_key_and_the_likely_one(tmp_path):
    file = write(tmp_path, 'rm_cap = "4GB"\nserver = "http://x"\n')

    with pytest.raises(BadSettingError) as caught:
        gather({}, file)

    assert str(file) in str(caught.value)
    assert "rm_cap" in str(caught.value)
    assert "ram_cap?" in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "blamed"),
    [("file", "agent.toml: server"), ("environment", "PARETOFLEET_AGENT_SERVER"),
     ("flag", "--server")],
)  # fmt: skip
def test_a_bad_value_is_blamed_where_it_was_written(tmp_path, monkeypatch, layer, blamed):
    file = write(tmp_path, 'server = "fleet"\n' if layer == "file" else "")
    if layer == "environment":
        monkeypatch.setenv("PARETOFLEET_AGENT_SERVER", "fleet")

    with pytest.raises(BadSettingError, match="write it like") as caught:
        gather({"server": "fleet"} if layer == "flag" else {}, file)

    assert blamed in str(caught.value)


def test_relative_paths_begin_at_the_file(tmp_path):
    (tmp_path / "token").write_text("from-a-file\n")
    file = write(tmp_path, 'data = "images"\nstate = "/abs"\nenrol_token = "token"\n')

    settings = gather({}, file).settings

    assert settings.data == tmp_path / "images"
    assert settings.state == Path("/abs")
    assert settings.enrol_token.get_secret_value() == "from-a-file"


def test_a_token_in_the_file_that_names_no_file_is_the_token(tmp_path):
    long = "t" * 3000
    for token in (CANARY, long, "with\nline"):
        settings = gather({}, write(tmp_path, f"enrol_token = {json.dumps(token)}\n")).settings
        assert settings.enrol_token.get_secret_value() == token


def test_an_empty_token_is_none(tmp_path):
    (tmp_path / "token").write_text("\n")

    assert gather({"enrol_token": str(tmp_path / "token")}, None).settings.enrol_token is None


def test_a_token_file_that_may_not_be_read_is_named_without_its_content(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text(CANARY)

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(token))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(BadSettingError, match="cannot be read") as caught:
        gather({"enrol_token": str(token)}, None)
    assert CANARY not in str(caught.value)


def test_a_credential_of_systemd_is_the_weakest_token(tmp_path, monkeypatch):
    (tmp_path / "enrol-token").write_text("by-credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    alone = gather({}, None)
    beaten = gather({}, write(tmp_path, 'enrol_token = "by-file"\n'))

    assert alone.settings.enrol_token.get_secret_value() == "by-credential"
    assert alone.origins["enrol_token"] == "credential"  # noqa: S105 - a path
    assert beaten.settings.enrol_token.get_secret_value() == "by-file"


@pytest.mark.parametrize(
    "text", ["server = ", "\xff\xfe", "[labels]\nline = 3\n", 'data = ["a"]\n']
)
def test_a_file_that_makes_no_sense_is_named(tmp_path, text):
    path = tmp_path / "agent.toml"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(BadSettingError, match=r"agent\.toml"):
        gather({}, path)


def test_labels_in_the_environment_that_are_no_json_are_named(monkeypatch):
    monkeypatch.setenv("PARETOFLEET_AGENT_LABELS", "line=3")

    with pytest.raises(BadSettingError, match="PARETOFLEET_AGENT_LABELS is no JSON"):
        gather({}, None)


def test_the_file_is_the_one_named_else_the_systems_else_the_users(tmp_path):
    users = tmp_path / "home" / "paretofleet-agent" / "agent.toml"
    named = write(tmp_path, "")
    assert find_file(None, {}) is None
    for path in (users, config.SYSTEM_FILE):
        path.parent.mkdir(parents=True)
        path.write_text("")
        assert find_file(None, {}) == path
    assert find_file(None, {"PARETOFLEET_AGENT_CONFIG": str(named)}) == named
    assert find_file(named, {"PARETOFLEET_AGENT_CONFIG": "/nowhere"}) == named
    with pytest.raises(BadSettingError, match="is no file"):
        find_file(tmp_path / "nowhere.toml", {})


def test_what_is_usable_is_saved_from_wrong_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("PARETOFLEET_AGENT_THREADS", "many")
    file = write(tmp_path, 'state = "box"\nserver = "fleet"\nno_such = 1\n')

    settings = salvage({"poll_s": "5"}, file)

    assert settings.state == tmp_path / "box"
    assert (settings.poll_s, settings.threads, settings.server) == (5.0, 1, "")


def test_nothing_at_all_can_be_saved_from_a_file_that_is_no_toml(tmp_path):
    assert salvage({}, write(tmp_path, "{")).server == ""


def test_reading_loosely_passes_strangers_over(tmp_path):
    file = write(tmp_path, "no_such = 1\nthreads = 2\n")

    assert read_file(file, strict=False) == {"threads": 2}


def test_every_setting_has_an_option_of_run():
    result = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200"})
    for name in AgentSettings.model_fields:
        assert flag_of(name) in result.output


def test_paths_and_secrets_are_known_by_their_kind():
    fields = AgentSettings.model_fields
    assert [name for name in fields if is_secret(name)] == ["enrol_token"]
    assert {"data", "test_data", "state", "ca_file"} <= {name for name in fields if is_path(name)}


def call(*arguments, **environment):
    return CliRunner().invoke(app, list(arguments), env=environment)


def test_the_command_shows_values_origins_and_no_secret(tmp_path):
    file = write(tmp_path, f'server = "http://x"\nenrol_token = "{CANARY}"\n')
    arguments = ("config", "--config", str(file), "--threads", "2", "--label", "line=3")
    plain = call(*arguments, PARETOFLEET_AGENT_POLL_S="9")
    facts = json.loads(call(*arguments, "--json", PARETOFLEET_AGENT_POLL_S="9").stdout)

    assert facts["file"] == str(file)
    said = {name: (v["value"], v["from"]) for name, v in facts["settings"].items()}
    assert said["server"] == ("http://x", "file")
    assert said["poll_s"] == (9.0, "environment")
    assert said["threads"] == (2, "flag")
    assert said["labels"] == ({"line": "3"}, "flag")
    assert said["enrol_token"] == ("***", "file")
    assert said["hang_s"][1] == "default"
    assert list(said) == list(AgentSettings.model_fields)
    assert "http://x" in plain.stdout
    assert CANARY not in plain.stdout + json.dumps(facts)


def test_a_bad_file_ends_every_command_with_2_and_its_name(tmp_path):
    file = write(tmp_path, "rm_cap = 1\n")
    for command in ("run", "once", "status", "config"):
        result = call(command, "--config", str(file))
        text = " ".join(result.output.replace("│", " ").split())
        assert result.exit_code == 2
        assert "rm_cap is no setting" in text
        told = json.loads(call(command, "--config", str(file), "--json").stdout)
        assert (told["error"], told["exit_code"]) == ("bad_setting", 2)
        assert "rm_cap" in told["reason"]


def test_a_command_reads_the_file_that_the_environment_names(tmp_path):
    file = write(tmp_path, 'state = "box"\n')
    result = call("status", "--json", PARETOFLEET_AGENT_CONFIG=str(file))

    assert json.loads(result.stdout)["state_dir"] == str(tmp_path / "box")
