#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the first inputs of fuzz_wire from the golden bytes. Run as: seeds.py SOURCE_ROOT

Run it after a change of tests/lib/golden.h, and commit what it wrote to tests/fuzz/corpus/wire.
"""

import pathlib
import re
import sys

GOLDEN = re.compile(r'^#define GOLDEN_(\w+)\s+"([0-9a-f ]+)"', re.MULTILINE)


def main():
    root = pathlib.Path(sys.argv[1])
    corpus = root / "tests/fuzz/corpus/wire"
    corpus.mkdir(exist_ok=True)
    for name, digits in GOLDEN.findall((root / "tests/lib/golden.h").read_text()):
        (corpus / name.lower()).write_bytes(bytes.fromhex(digits))


if __name__ == "__main__":
    main()
