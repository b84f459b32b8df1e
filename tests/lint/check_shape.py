#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check the length of files and functions, and leftovers. Run as: check_shape.py SOURCE_ROOT"""

import re

import tree

FILE_LINES = 700
FUNCTION_LINES = 100

CODE = (".c", ".h", ".py", ".sh")
# Spelled apart, so that this file does not find itself. An issue number makes one legitimate.
LEFTOVER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b(?!\(#\d+\))")


def long_functions(lines):
    """In our layout a function's body is what lies between '{' and '}' in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start - 1 > FUNCTION_LINES:
                yield start, number - start - 1
            start = None


def check(path, text):
    lines = text.split("\n")
    if path.name.endswith(CODE) and len(lines) - 1 > FILE_LINES:
        yield f"{path}: {len(lines) - 1} lines, at most {FILE_LINES}"
    if path.name.endswith((".c", ".h")):
        for start, count in long_functions(lines):
            yield f"{path}:{start}: a function of {count} lines, at most {FUNCTION_LINES}"
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield f"{path}:{number}: blanks at the end of the line"
        if LEFTOVER.search(line) and path.suffix != ".md":
            yield f"{path}:{number}: a leftover without an issue number"


def main():
    root = tree.root()
    problems = []
    for path in tree.files(root):
        data = (root / path).read_bytes()
        # A licence is as it is, and a fuzzer's seeds are not text.
        if path.name != "LICENSE" and "corpus" not in path.parts and b"\0" not in data:
            problems += check(path, data.decode(errors="replace"))
    tree.finish(problems)


if __name__ == "__main__":
    main()
