#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check that each source file names its licence first. Run as: check_spdx.py SOURCE_ROOT"""

import tree

SOURCES = (".c", ".h", ".py", ".sh")
APACHE = "Apache-2.0"
KERNEL = "GPL-2.0-only OR BSD-2-Clause"  # what runs in the kernel, and what it shares


def licence_of(root, path):
    """Kernel's: all of bpf/, and elsewhere x.bpf.c and the x.h that it shares with its loader."""
    shared = path.suffix == ".h" and (root / path).with_suffix(".bpf.c").exists()
    in_kernel = path.parts[0] == "bpf" or path.name.endswith(".bpf.c")
    return KERNEL if in_kernel or shared else APACHE


def is_source(path, first_line):
    return path.name.endswith(SOURCES) or first_line.startswith("#!")


def main():
    root = tree.root()
    problems = []
    for path in tree.files(root):
        lines = (root / path).read_text(errors="replace").splitlines()[:2]
        if not is_source(path, lines[0] if lines else ""):
            continue
        expected = f"SPDX-License-Identifier: {licence_of(root, path)}"
        # A script's first line belongs to the kernel.
        place = 1 if lines and lines[0].startswith("#!") else 0
        line = lines[place] if len(lines) > place else ""
        if line.removesuffix("*/").strip(" /*#") != expected:
            problems.append(f"{path}:{place + 1}: expected '{expected}'")
    tree.finish(problems)


if __name__ == "__main__":
    main()
