# SPDX-License-Identifier: Apache-2.0
"""What the checks share: the project's own files, and how a check ends."""

import pathlib
import subprocess
import sys

SKIP = 77  # exit status: the machine lacks a tool


def root():
    """The project's root, the first argument of every check."""
    return pathlib.Path(sys.argv[1]).resolve()


def files(where, *suffixes):
    """Files under version control, as sorted paths relative to @where; all without suffixes."""
    # safe.directory: a clone may belong to somebody else than root, who runs the tests.
    command = ["git", "-c", "safe.directory=*", "-C", str(where), "ls-files", "-z"]
    try:
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        skip("git, or a clone of the project")
    paths = (pathlib.Path(name) for name in names.split("\0") if name)
    return sorted(p for p in paths if (where / p).is_file() and p.name.endswith(suffixes or ""))


def skip(lacking):
    print(f"skipped, this machine lacks {lacking}")
    sys.exit(SKIP)


def finish(problems):
    """Print what was found and end the program."""
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)
