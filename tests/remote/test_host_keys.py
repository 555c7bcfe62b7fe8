from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from jobkit.remote import host_keys

KEY = paramiko.ECDSAKey.generate()


def client(kind: str, file: Path) -> paramiko.SSHClient:
    found = paramiko.SSHClient()
    settings = {"userknownhostsfile": str(file), "globalknownhostsfile": "none"}
    host_keys.apply(found, settings, kind)
    return found


def meet(one: paramiko.SSHClient) -> None:
    one._policy.missing_host_key(one, "[h1]:2222", KEY)


def test_a_key_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(host_keys.UnknownKeyError) as refused:
        meet(client(host_keys.STRICT, tmp_path / "known"))
    assert refused.value.args == ("[h1]:2222", KEY.get_name(), KEY.fingerprint)
    assert not (tmp_path / "known").exists()


def test_on_first_use_it_is_kept_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "known"
    meet(client(host_keys.FIRST_USE, file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert client(host_keys.STRICT, file)._system_host_keys.check("[h1]:2222", KEY)
    said = f"[h1]:2222: its host key ({KEY.get_name()} {KEY.fingerprint}) is kept in {file}"
    assert capsys.readouterr().err == f"jobkit: warning: {said}\n"


def test_without_verification_nothing_is_known_and_nothing_kept(tmp_path: Path) -> None:
    file = tmp_path / "known"
    file.write_text(f"[h1]:2222 {KEY.get_name()} {KEY.get_base64()}\n")
    found = client(host_keys.OFF, file)
    assert len(found._system_host_keys) == 0
    meet(found)
    assert file.read_text().count("\n") == 1
