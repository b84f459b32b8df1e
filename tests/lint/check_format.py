#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the layout of all C files with clang-format. Run as: check_format.py SOURCE_ROOT"""

import shutil
import subprocess
import sys

import tree


def main():
    root = tree.root()
    if not shutil.which("clang-format"):
        tree.skip("clang-format")
    names = [str(path) for path in tree.files(root, ".c", ".h")]
    sys.exit(subprocess.run(["clang-format", "--dry-run", "-Werror", *names], cwd=root).returncode)


if __name__ == "__main__":
    main()
