#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sum up a run of tests. Run as: summary.py DIRECTORY

The directory holds *.json, meson's test logs (one JSON object in each line), and "steps", lines of
"ok - NAME" or "not ok - NAME". A test that printed a TAP plan counts as its lines, any other as
one. The last line printed is "N passed, N failed, N skipped".
"""

import collections
import json
import pathlib
import re
import sys

LOG_LINES = 200  # of a failed test are shown

PLAN = re.compile(r"^1\.\.\d+", re.MULTILINE)
FACT = re.compile(r"^(not ok|ok)\b[^#\n]*(# *skip\b)?", re.MULTILINE | re.IGNORECASE)

GOOD = {"OK", "EXPECTEDFAIL"}


def kind(match):
    if match[2]:
        return "skipped"
    return "passed" if match[1].lower() == "ok" else "failed"


def count_test(test):
    """How many facts a test found passed, failed and skipped."""
    if test["result"] == "SKIP":
        return collections.Counter(skipped=1)
    output = test.get("stdout") or ""
    facts = collections.Counter()
    if PLAN.search(output):
        facts.update(kind(match) for match in FACT.finditer(output))
    if test["result"] in GOOD:
        return facts or collections.Counter(passed=1)
    # Its end may be what failed: a crash, a timeout, a leak.
    facts["failed"] = max(facts["failed"], 1)
    return facts


def show(test):
    output = (test.get("stdout") or "") + (test.get("stderr") or "")
    lines = output.splitlines()
    if test["result"] == "SKIP":
        print(f"-- {test['name']} skipped: {' '.join(lines[-1:]) or 'no reason given'}")
    elif test["result"] not in GOOD:
        print(f"-- {test['name']}: {test['result']}, exit status {test['returncode']}")
        print("\n".join(lines[-LOG_LINES:]))


def main():
    directory = pathlib.Path(sys.argv[1])
    total = collections.Counter()
    for log in sorted(directory.glob("*.json")):
        for line in log.read_text().splitlines():
            test = json.loads(line)
            show(test)
            total += count_test(test)
    steps = directory / "steps"
    for line in steps.read_text().splitlines() if steps.exists() else []:
        failed = line.startswith("not ok")
        total["failed" if failed else "passed"] += 1
        if failed:
            print(f"-- {line}")
    print(", ".join(f"{total[what]} {what}" for what in ("passed", "failed", "skipped")))
    sys.exit(1 if total["failed"] or not total["passed"] else 0)


if __name__ == "__main__":
    main()
