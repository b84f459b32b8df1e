#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check tables of the documentation against the code. Run as: check_docs.py SOURCE_ROOT

A table is found by the heading above it and by its columns' titles. The code side is what a
regular expression finds in the sources, one group for each column. Both are compared as sets.
"""

import dataclasses
import re
import typing

import tree


@dataclasses.dataclass
class Table:
    doc: str
    heading: str  # its text, without the marks; the table may be under a heading below it
    columns: dict  # title of a column -> regular expression for the names in a cell
    sources: tuple  # globs
    code: str
    normal: typing.Callable = lambda row, names: row  # the same form for both sides
    names: str = ""  # regular expression for (identifier, name) pairs that it is given


NAME = r"`([^`]+)`"


def targets(text, names):
    """The states that a state leads to, sorted: from TO(A) | TO(B), or from `a`, `b`."""
    named = [names[i] for i in re.findall(r"TO\((\w+)\)", text)]
    return " ".join(sorted(named + re.findall(NAME, text)))

TABLES = [
    Table("STYLE.md", "Where things live", {"Folder": r"`(\w+)[/`]"},
        ("tests/lint/check_includes.py",),
        r'^    "(\w+)": (?:\{|EVERYTHING)'),
    Table("docs/observability.md", "Log", {"event": NAME},
        ("control/*.c",),
        r'wh_log\(WH_LOG_\w+, "([^"]+)"'),
    Table("docs/observability.md", "Counters of a migration", {"name": NAME, "meaning": "(.*)"},
        ("base/stats.c",),
        r'\] = \{ "(\w+)", "([^"]+)" \}'),
    Table("docs/observability.md", "Metrics",
        {"metric": NAME, "type": r"(\w+)", "unit": "(.+)", "meaning": "(.+)"},
        ("control/metrics.c",),
        r'\] = \{ "(\w+)", (\w+),\s+"([^"]+)",\s+"([^"]+)" \}',
        normal=lambda row, names: (row[0], row[1].lower(), *row[2:])),
    Table("docs/node-protocol.md", "The protocol between nodes", {"type": NAME},
        ("control/node_protocol.c",),
        r'\[WH_NODE_\w+\] = \{ "(\w+)"'),
    Table("docs/api.md", "The API of wherryd", {"command": NAME},
        ("control/api.c", "control/coordinator_api.c", "control/hook.c"),
        r'\{ "([a-z-]+)", do_\w+'),
    Table("docs/libvirt.md", "What a domain needs", {"rule": NAME, "native": ""},
        ("control/domain_xml_check.c",),
        r'^\t\{ "([a-z-]+)", \w+ \},$()'),
    Table("docs/libvirt.md", "What the hosts need", {"rule": NAME},
        ("control/check*.c",),
        r'wh_check_(?:yes|no|heed)\((?:&c->)?list, "([a-z-]+)"'),
    Table("docs/configuration.md", "The cluster: manifests", {"kind": NAME, "apiVersion": NAME},
        ("control/object.c", "control/kind.c"),
        r'\{ WH_KIND_(\w+),\s*"([^"]*)",\s*"(\w+)",',
        normal=lambda row, names: row if len(row) == 2 else (names[row[0]], row[1] + row[2]),
        names=r'\[WH_KIND_(\w+)\] = \{\s*"(\w+)"'),
    Table("docs/semantics.md", "1. Cluster settings: `HyperConverged`", {"key": NAME},
        ("control/settings.c",),
        r'\{ "(\w+)", WH_SETTING_\w+,'),
    Table("docs/configuration.md", "Policies", {"key of `spec`": NAME},
        ("control/settings.c", "control/policy.c"),
        r'(?:\{ "(?=[^}]*, true \})|#define SELECTORS ")(\w+)"'),
    Table("docs/configuration.md", "Requests", {"key of `spec`": NAME},
        ("control/request.c",),
        r'\{ "(\w+)", read_\w+, offsetof'),
    Table("docs/session-states.md", "A migration", {"state": NAME, "then": "(.*)"},
        ("control/job.c",),
        r'\[WH_JOB_\w+\] = \{ "(\w+)",\s*((?:TO\(\w+\)(?: \|\s*)?)+|0) \}',
        normal=lambda row, names: (row[0], targets(row[1], names)),
        names=r'\[WH_JOB_(\w+)\] = \{ "(\w+)"'),
    Table("docs/session-states.md", "A session", {"state": NAME, "then": "(.*)"},
        ("base/session.c",),
        r'\[WH_SESSION_\w+\] = \{ "([\w-]+)",\s*((?:TO\(\w+\)(?: \|\s*)?)+|0) \}',
        normal=lambda row, names: (row[0], targets(row[1], names)),
        names=r'\[WH_SESSION_(\w+)\] = \{ "([\w-]+)"'),
    Table("docs/wire-protocol.md", "Record types", {"Name": NAME, "Number": r"^(\d+)$"},
        ("dataplane/wire.h",),
        r"^\tWH_RECORD_(\w+) = (\d+),"),
    Table("docs/wire-protocol.md", "Frame kinds", {"Name": NAME, "Number": r"^(\d+)$"},
        ("dataplane/wire.h",),
        r"^\tWH_FRAME_(\w+) = (\d+),"),
    Table("docs/wire-protocol.md", "Frame kinds of RDMA", {"Name": NAME, "Number": r"^(\d+)$"},
        ("dataplane/rdma_frames.h",),
        r"^\tWH_RDMA_(\w+) = (\d+),"),
]


def cells(line):
    """The cells of a row; a bar in code is written with a backslash in front."""
    return [c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", line.strip("| \t"))]


def section(text, heading):
    """The lines from @heading to the next heading of its rank or above."""
    rank = None
    for line in text.splitlines():
        match = re.match(r"(#+)\s+(.*?)\s*$", line)
        if match and rank and len(match[1]) <= rank:
            return
        if match and match[2] == heading:
            rank = len(match[1])
        elif rank:
            yield line


def rows(lines, titles):
    """The cells below @titles, for each row of the tables that have all of them."""
    places = None
    for line in lines:
        row = cells(line)
        if not line.lstrip().startswith("|"):
            places = None
        elif places is None:
            places = [row.index(t) for t in titles] if set(titles) <= set(row) else []
        elif places and not set(line) <= set("|-: \t"):
            yield [row[place] if place < len(row) else "" for place in places]


def documented(root, table):
    text = (root / table.doc).read_text()
    found = set()
    for row in rows(section(text, table.heading), list(table.columns)):
        names = [re.findall(pattern, cell) for pattern, cell in zip(table.columns.values(), row)]
        found.update(zip(*names))
    return found


def coded(root, table, pattern):
    found = set()
    for glob in table.sources:
        for path in root.glob(glob):
            for match in re.finditer(pattern, path.read_text(), re.MULTILINE):
                found.add(match.groups())
    return found


def check(root, table):
    where = f"{table.doc}, '{table.heading}'"
    missing = [name for name in (table.doc, *table.sources) if not any(root.glob(name))]
    if missing:
        return [f"{where}: {name} is missing" for name in missing]
    names = dict(coded(root, table, table.names)) if table.names else {}
    doc = {table.normal(row, names) for row in documented(root, table)}
    code = {table.normal(row, names) for row in coded(root, table, table.code)}
    sources = ", ".join(table.sources)
    problems = [f"{where}: {' '.join(name)} is not in {sources}" for name in sorted(doc - code)]
    problems += [f"{where}: lacks {' '.join(name)} of {sources}" for name in sorted(code - doc)]
    if not doc and not code:
        problems.append(f"{where}: nothing found, in the table or in {sources}")
    return problems


def main():
    root = tree.root()
    tree.finish([problem for table in TABLES for problem in check(root, table)])


if __name__ == "__main__":
    main()
