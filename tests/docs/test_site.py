"""The site builds without a warning, and what its pages show is what happens.

Blocks of `console` are run, in the order of the page and in one folder, and must print the lines that are
shown after a command; `...` stands for any. A comment `<!-- needs SOMETHING -->` before a block says why it
is not run: its commands are only read by the parser. A block of YAML or Python whose first line is `# NAME`
is a file of that folder.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobkit.cli import parser

REPOSITORY = Path(__file__).parent.parent.parent
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
RUN = ["extending.md", "from-mlx-launch.md", "from-submitit.md", "from-torchrun.md", "index.md", "local.md"]
BLOCK = re.compile(r"(?:^<!-- needs (?P<needs>.+?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.M | re.S)
FILE = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """One block of a page: its language, its text, and what running it would need."""

    kind: str
    text: str
    needs: str | None


def blocks(page: Path) -> Iterator[Block]:
    for found in BLOCK.finditer(page.read_text()):
        yield Block(found["kind"], found["text"], found["needs"])


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return each command after `$ `, with the lines that are shown after it."""
    parts = re.split(r"^\$ ", block.text, flags=re.M)[1:]
    return [(part.splitlines()[0], part.splitlines()[1:]) for part in parts]


def words(command: str) -> list[list[str]]:
    """Return the words of each `jobkit` command in a line of a shell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";|&()<>"):
            simple.append([])
        else:
            simple[-1].append(word)
    return [each[1:] for each in simple if each and each[0] == "jobkit"]


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=150)

    assert done.returncode == 0, done.stdout + done.stderr
    built = {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    assert {page.stem for page in PAGES} - {"index"} <= built


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_the_parser_takes(page: Path) -> None:
    for block in blocks(page):
        if block.kind == "console":
            for command, _ in commands(block):
                for each in words(command):
                    parser().parse_args(each)


@pytest.mark.parametrize("name", RUN)
def test_what_a_page_shows_is_what_happens(
    name: str, tmp_path: Path, jobkit_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    for folder in ("docs", "configs"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    n_run = 0
    for block in blocks(DOCS / name):
        named = FILE.match(block.text)
        if named and "/" not in named[1]:
            (tmp_path / named[1]).write_text(block.text)
        if block.kind != "console" or block.needs:
            continue
        for command, shown in commands(block):
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=150
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            lines = [line for line in shown if line not in ("", "...")]
            assert sorted(lines) == sorted(set(lines) & set(done.stdout.splitlines())), command
            n_run += 1
    assert n_run or name in ("extending.md", "from-submitit.md")


@pytest.mark.parametrize("name", RUN)
def test_every_block_of_python_that_can_run_alone_runs(name: str, tmp_path: Path) -> None:
    for block in blocks(DOCS / name):
        if block.kind == "python" and not block.text.startswith("# submitit"):
            done = subprocess.run(
                [sys.executable, "-c", block.text], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", RUN)
def test_every_block_of_yaml_is_a_spec_that_is_valid(
    name: str, tmp_path: Path, jobkit_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from jobkit.cli import main

    for block in blocks(DOCS / name):
        if block.kind == "yaml":
            (tmp_path / "spec.yaml").write_text(block.text)
            assert main(["validate", str(tmp_path / "spec.yaml")]) == 0, capfd.readouterr().err


def test_messages_that_the_page_of_troubles_quotes_are_messages() -> None:
    table = (DOCS / "trouble.md").read_text().partition("| what you see |")[2]
    quoted = re.findall(r"^\| `(.+?)`", table, re.M)
    sources = [path for kind in ("*.py", "*.cc") for path in (REPOSITORY / "jobkit").rglob(kind)]
    code = "\n".join(source.read_text() for source in sources)
    pieces = [piece.strip() for message in quoted for piece in message.split("…") if piece.strip()]

    assert len(quoted) > 5
    assert [piece for piece in pieces if piece not in code] == []
