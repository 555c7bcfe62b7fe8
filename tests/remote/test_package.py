from __future__ import annotations

from jobkit.remote import package


def test_it_is_what_hosts_need_and_nothing_compiled_or_of_the_command_line() -> None:
    parts = {path.split("/")[1] for path in package.manifest()}
    assert {"__init__.py", "env", "agent", "jobs", "errors.py"} <= parts
    assert not parts & {"native", "cli", "spec", "bench"}
    assert all(path.endswith(".py") for path in package.manifest())


def test_another_content_has_another_name(monkeypatch) -> None:
    before = package.name()
    changed = {**package.manifest(), "jobkit/errors.py": ("f", 0, "0" * 64)}
    monkeypatch.setattr(package, "manifest", lambda: changed)
    assert package.name() != before
