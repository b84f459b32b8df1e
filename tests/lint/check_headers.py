#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that each header compiles alone. Run as: check_headers.py SOURCE_ROOT COMPILER..."""

import concurrent.futures
import subprocess
import sys

import tree

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c"]

# A header's own functions and counters have no user when it is alone.
FLAGS += ["-Wno-unused-function", "-Wno-unused-variable"]

# Where quoted includes are looked for, beside the header's own folder. Tests may use everything.
FOLDERS = ["include"]
TEST_FOLDERS = ["include", "control", "dataplane", "bpf", "tests/guest", "tests/lib"]


def compile_alone(root, path):
    folders = TEST_FOLDERS if path.parts[0] in ("bench", "tests") else FOLDERS
    includes = [f"-I{root / folder}" for folder in folders]
    source = f'#include "{root / path}"\n'
    command = [*sys.argv[2:], *FLAGS, *includes, "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    return f"{path} does not compile alone:\n{done.stderr}" if done.returncode else None


def main():
    root = tree.root()
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda path: compile_alone(root, path), tree.files(root, ".h"))
        tree.finish([problem for problem in found if problem])


if __name__ == "__main__":
    main()
