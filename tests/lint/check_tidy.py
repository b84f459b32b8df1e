#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run clang-tidy over what the build compiles. Run as: check_tidy.py SOURCE_ROOT BUILD_ROOT"""

import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys

import tree

# gcc's flags are in the compilation database.
COMMAND = ["clang-tidy", "--quiet", "--extra-arg=-Wno-unknown-warning-option"]


def sources(root, build):
    """The project's own files among the compiled ones, each once."""
    ours = {(root / path).resolve() for path in tree.files(root, ".c")}
    database = json.loads((build / "compile_commands.json").read_text())
    compiled = {(pathlib.Path(e["directory"]) / e["file"]).resolve() for e in database}
    return sorted(ours & compiled)


def check(build, path):
    done = subprocess.run([*COMMAND, "-p", build, path], capture_output=True, text=True)
    return done.stdout if done.returncode else None


def main():
    root, build = tree.root(), pathlib.Path(sys.argv[2])
    if not shutil.which("clang-tidy"):
        tree.skip("clang-tidy")
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda path: check(build, path), sources(root, build))
        tree.finish([problem for problem in found if problem])


if __name__ == "__main__":
    main()
