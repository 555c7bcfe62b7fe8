from __future__ import annotations

from pathlib import Path

from jobkit.jobs import files, secret_file


def put(run_dir: Path) -> Path:
    files.create(run_dir / "secrets", secret_file.dumps({"TOKEN": "s3cret", "OTHER": ""}))
    return run_dir / "secrets"


def test_secrets_survive_their_file(tmp_path: Path) -> None:
    put(tmp_path)
    assert secret_file.read(tmp_path) == {"TOKEN": "s3cret", "OTHER": ""}


def test_erased_secrets_keep_their_names_alone(tmp_path: Path) -> None:
    path = put(tmp_path)
    secret_file.erase(tmp_path)
    assert "TOKEN" in path.read_text()
    assert "s3cret" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret_file.read(tmp_path) == {}


def test_erasing_again_changes_nothing(tmp_path: Path) -> None:
    path = put(tmp_path)
    secret_file.erase(tmp_path)
    erased = path.read_text()
    secret_file.erase(tmp_path)
    assert path.read_text() == erased
    path.write_text("")  # what a full disk has left of it
    secret_file.erase(tmp_path)


def test_a_job_without_secrets_has_nothing_to_erase(tmp_path: Path) -> None:
    secret_file.erase(tmp_path)
    assert not list(tmp_path.iterdir())
