"""Print what lets a shell complete jobkit's verbs, options and files.

bash: eval "$(jobkit completions bash)" in ~/.bashrc;
zsh: jobkit completions zsh > FOLDER/_jobkit, with the folder in fpath;
fish: jobkit completions fish > ~/.config/fish/completions/jobkit.fish;
tcsh: jobkit completions tcsh > FILE, and source FILE in ~/.tcshrc.
"""

from __future__ import annotations

import argparse

HELP = "print the completions of a shell"
SHELLS = ("bash", "zsh", "fish", "tcsh")
# What stands for a path in the help of an argument.
_FILES, _FOLDERS = ("SPEC", "FILE"), ("FOLDER",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `completions` takes."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """Return the script for a shell."""
    import shtab

    from jobkit.cli import parser

    whole = parser()
    for action in _actions(whole):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return str(shtab.complete(whole, shell=shell))


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments of a parser and of all verbs below it."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [own for sub in action.choices.values() for own in _actions(sub)]
    return found
