#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Check what is written about wherry's commands against its table of them. Run as:
check_commands.py SOURCE_ROOT

Commands and their options are compared as sets of (command, option), where "" stands for the
command itself. The kinds of objects are in a table of their own. Manual pages must be well-formed.
"""

import re
import shutil
import subprocess

import tree

TABLE = "control/cli_commands.c"
MANUAL = "man/wherry.1"
COMPLETION = "completions/wherry.bash"

KINDS = "control/kind.c"

KIND = re.compile(r'= \{ "\w+",\s+"(\w+)",\s+"(\w+)",\s+(?:"\w+"|NULL)')
OPTION = re.compile(r"""\{\s*"([a-z-]+)",\s*(NULL|"[^"]*"),\s*(?:0|'(\w)'),\s*(?:true|false),""")


def table(text):
    """The commands' options, and those of them that have an argument."""
    for name, value in re.findall(r"^#define (\w+)\s+(\{.*\})$", text, re.MULTILINE):
        text = re.sub(rf"\b{name}\b", lambda _, v=value: v, text)
    pairs, with_argument = set(), set()
    for block in re.split(r"^\t\{ (?=\")", text, flags=re.MULTILINE)[1:]:
        command = re.match(r'"([a-z-]+)"', block)[1]
        pairs.add((command, ""))
        for name, argument, letter in OPTION.findall(block):
            names = [f"--{name}"] + ([f"-{letter}"] if letter else [])
            pairs |= {(command, option) for option in names}
            with_argument |= set(names if argument != "NULL" else [])
    return pairs, with_argument


def manual(text):
    """A section for each command, with an entry for each option."""
    pairs = set()
    for part in re.split(r"^\.S[SH] ", text.replace(r"\-", "-"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        if not re.search(rf'^\.SY "wherry {title}"', body, re.MULTILINE):
            continue
        pairs.add((title, ""))
        for entry in re.findall(r"^\.TP\n(.*)$", body, re.MULTILINE):
            names = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.sub(r"\\f[BIR]", " ", entry))
            pairs |= {(title, option) for option in names}
    return pairs


def completion(text):
    """The options of each command, if it is in the list of commands, and those with a value."""
    functions = dict(re.findall(r"^(\w+)\(\) \{\n(.*?)\n\}", text, re.DOTALL | re.MULTILINE))
    listed = re.findall(r'"([^"]*)"', functions["_wherry_commands"])
    pairs = {(command, "") for command in " ".join(listed).split()}
    options = functions["_wherry_options"]
    for command, options in re.findall(r'([a-z-]+)\) echo "([^"]*)" ;;', options):
        pairs |= {(command, option) for option in options.split()}
    with_value = re.search(r"^\t\t(.*)\) i=", text, re.MULTILINE)[1]
    return pairs, set(with_value.split(" | "))


def kinds(root):
    """Names of kinds that the completion offers, and the manual page, against the table of them."""
    known = [set(names) for names in KIND.findall((root / KINDS).read_text())]
    offered = re.search(r"_wherry_kinds\(\) \{\n(.*?)\n\}", (root / COMPLETION).read_text(), re.DOTALL)
    told = re.search(r"^\.I KIND\nis one of\n(.*?)\nin the", (root / MANUAL).read_text(),
                     re.DOTALL | re.MULTILINE)
    for where, text in ((COMPLETION, offered[1]), (MANUAL, told[1])):
        words = set(re.findall(r"[a-z]+", re.sub(r"\.BR|\becho\b|\band\b", "", text)))
        for word in sorted(words - set().union(*known)):
            yield f"{where}: {word} is no kind of {KINDS}"
        for names in known:
            if not words & names:
                yield f"{where}: lacks a name of {' '.join(sorted(names))}"


def compare(where, found, wanted):
    for command, option in sorted(wanted - found):
        yield f"{where}: lacks {command} {option}".rstrip() + f" of {TABLE}"
    for command, option in sorted(found - wanted):
        yield f"{where}: {command} {option}".rstrip() + f" is not in {TABLE}"


def pages(root):
    """What mandoc, or else man, says about the manual pages."""
    for path in tree.files(root, ".1", ".8"):
        if shutil.which("mandoc"):
            command = ["mandoc", "-Tlint", "-Wwarning", path]
        else:
            command = ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", path]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        yield from (done.stdout if "mandoc" in command else done.stderr).splitlines()


def main():
    root = tree.root()
    if not shutil.which("mandoc") and not shutil.which("man"):
        tree.skip("mandoc, and man")
    wanted, with_argument = table((root / TABLE).read_text())
    found, with_value = completion((root / COMPLETION).read_text())
    problems = [] if wanted else [f"{TABLE}: no commands found"]
    problems += compare(MANUAL, manual((root / MANUAL).read_text()), wanted)
    problems += compare(COMPLETION, found, wanted)
    if with_argument != with_value:
        problems.append(f"{COMPLETION}: options with a value are {sorted(with_value)}, but "
                        f"{sorted(with_argument)} in {TABLE}")
    tree.finish(problems + [*kinds(root), *pages(root)])


if __name__ == "__main__":
    main()
