import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_every_setting_is_described():
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("PARETOFLEET_POLL_SECONDS", "7")
    monkeypatch.setenv("PARETOFLEET_DATABASE_URL", "postgresql+psycopg://u:hunter2@h/d")
    settings = Settings()
    assert settings.poll_seconds == 7
    assert settings.url == "postgresql+psycopg://u:hunter2@h/d"
    assert "hunter2" not in repr(settings)


def test_the_database_is_a_file_in_the_data_folder_by_default(tmp_path):
    assert Settings(data_dir=tmp_path).url == f"sqlite:///{tmp_path}/paretofleet.db"


def test_a_setting_that_makes_no_sense_is_refused():
    with pytest.raises(ValidationError):
        Settings(poll_seconds=0)
