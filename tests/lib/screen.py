# SPDX-License-Identifier: Apache-2.0
"""A vt100 that remembers what it shows: enough of one for programs that use curses."""

import re

SEQUENCE = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|\x1b[()][0-9A-Z]|\x1b([=>78M])")
BEGINNING = re.compile(r"\x1b(?:[()]?|\[[\d;?]*)$")


class Screen:
    def __init__(self, columns=80, lines=24):
        self.columns = columns
        self.lines = lines
        self.rows = [[" "] * columns for _ in range(lines)]
        self.row = self.column = 0
        self.rest = ""  # of a sequence that has only begun
        self.top, self.bottom = 0, lines - 1  # of what scrolls

    def text(self):
        return ["".join(row).rstrip() for row in self.rows]

    def feed(self, text):
        at = 0
        text = self.rest + text
        beginning = BEGINNING.search(text)
        self.rest = beginning[0] if beginning else ""
        text = text[:len(text) - len(self.rest)]
        while at < len(text):
            match = SEQUENCE.match(text, at)
            if match and match[2]:
                self._control([int(n) for n in re.findall(r"\d+", match[1])], match[2])
            elif match and match[3] == "M" and self.row == self.top:
                self._scroll(self.bottom, self.top)
            elif match and match[3] == "M":
                self.row -= 1
            elif not match:
                self._character(text[at])
            at = match.end() if match else at + 1

    def _control(self, numbers, what):
        count = numbers[0] if numbers else 1
        if what == "H":
            self.row, self.column = [n - 1 for n in (numbers + [1, 1])[:2]]
        elif what == "C":
            self.column += count
        elif what == "D":
            self.column -= count
        elif what == "A":
            self.row -= count
        elif what == "B":
            self.row += count
        elif what == "r":
            self.top, self.bottom = [n - 1 for n in (numbers + [1, self.lines][len(numbers):])]
            self.row = self.column = 0
        elif what in "JK":
            first, last = [(self.column, self.columns), (0, self.column + 1),
                           (0, self.columns)][numbers[0] if numbers else 0]
            for column in range(first, last):
                self.rows[self.row][column] = " "
            for row in range(self.row + 1, self.lines) if what == "J" else ():
                self.rows[row] = [" "] * self.columns

    def _scroll(self, gone, new):
        """One line less at the one end of what scrolls, and an empty one at the other."""
        del self.rows[gone]
        self.rows.insert(new, [" "] * self.columns)

    def _character(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            if self.row == self.bottom:
                self._scroll(self.top, self.bottom)
            else:
                self.row += 1
        elif character == "\b":
            self.column -= 1
        elif character == "\t":
            self.column = (self.column // 8 + 1) * 8
        elif character >= " ":
            if self.column == self.columns:  # the line goes on below
                self.row, self.column = self.row + 1, 0
            self.rows[self.row][self.column] = character
            self.column += 1
