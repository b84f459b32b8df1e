#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wherry top, on a terminal that the test reads. Run as: test_cli_top.py SOURCE_ROOT WHERRY"""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tests/lib"))

from cli_rig import PATIENCE_S, WHERRY, WithWherryd, migration  # noqa: E402 (the path is set above)
import screen  # noqa: E402


class Top(WithWherryd):
    def setUp(self):
        super().setUp()
        self.fake.answers["status"] = {"migrations": [
            migration(), migration("web-00000001", "Pending", created_ms=1764000000001, target="",
                                   place=1, note="waits for a slot of node a"),
            migration("old-00000002", "Failed", outcome="failed", reason="it was too old " + "and old " * 24,
                      created_ms=1763000000000)]}
        self.screen = screen.Screen()

    def start(self, term="vt100"):
        """wherry top on a terminal of 80 columns and 24 lines."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.top = subprocess.Popen([WHERRY, "--socket", self.socket, "top"], stdin=theirs,
                                    stdout=theirs, stderr=subprocess.PIPE, text=True,
                                    env={**self.env, "TERM": term}, start_new_session=True)
        os.close(theirs)
        self.terminal = ours
        self.addCleanup(os.close, ours)
        self.addCleanup(self.end)

    def end(self):
        if self.top.poll() is None:
            self.top.send_signal(signal.SIGKILL)
        self.top.wait()
        self.top.stderr.close()

    def shows(self, *wanted, vms=()):
        """Read the terminal until it shows all of this, and these VMs in this order; return its lines."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            lines = self.screen.text()
            first = [line.split()[0] if line.split() else "" for line in lines[2:2 + len(vms)]]
            if first == list(vms) and all(any(re.search(w, line) for line in lines) for w in wanted):
                return lines
            if select.select([self.terminal], [], [], 1)[0]:
                self.screen.feed(os.read(self.terminal, 65536).decode(errors="replace"))
        self.fail("the screen is\n" + "\n".join(self.screen.text()))

    def press(self, key):
        os.write(self.terminal, key.encode())

    def test_a_table_fits_on_80_by_24_and_q_ends_it(self):
        self.start()
        lines = self.shows(r"^ q end|^q end")
        self.assertRegex(lines[0], "wherry top: 1 running, 1 waiting")
        self.assertRegex(lines[1], r"^VM +FROM +TO +STATE +DONE +RATE +LEFT +TIME$")
        self.assertRegex(lines[2], r"^web +a +- +Pending")
        self.assertRegex(lines[3], r"^db1 +a +b +PreCopy +75% +1.00 GiB/s +256 MiB +1.50 s$")
        self.assertEqual(lines[4], "")
        self.assertRegex(lines[16], "^web-00000001  VM default/web")
        self.assertEqual(lines[19:21], ["place 1 in the queue", "waits for a slot of node a"])
        self.press("q")
        self.assertEqual(self.top.wait(PATIENCE_S), 0)

    def test_keys_select_sort_and_show_what_is_over(self):
        self.start()
        self.shows("web-00000001  VM")
        self.press("j")
        self.shows("db1-5f0c2a91  VM default/db1")
        self.press("a")
        self.shows("^old .*Failed")
        self.press("s")
        self.shows("order: VM", vms=("db1", "old", "web"))
        self.shows("db1-5f0c2a91  VM")  # it stays selected
        self.press("j")
        lines = self.shows("old-00000002  VM", "it was too old", "^.{40,50} old$")
        self.assertEqual("".join(lines[20:23]).count("old"), 25)  # wrapped, and all of it

    def test_it_goes_on_when_wherryd_does_not_answer(self):
        self.start()
        self.shows("1 running")
        before = self.fake.answers["status"]
        self.fake.answers["status"] = "the coordinator is away"
        self.shows("wherry top: the coordinator is away", "^db1")
        self.fake.answers["status"] = before
        self.shows("1 running")

    def test_many_migrations_scroll(self):
        self.fake.answers["status"] = {"migrations": [
            migration(f"vm{n:02}-00000000", created_ms=1764000000000 - n) for n in range(40)]}
        self.start()
        self.shows("^vm00", "^vm12")
        for _ in range(39):
            self.press("j")
        self.shows("^vm39", "^vm27", "vm39-00000000  VM")

    def test_without_a_terminal_it_says_so(self):
        self.assertEqual(self.wherry("top", code=1)[1],
                         "wherry: top needs a terminal; 'wherry status' does not\n")

    def test_a_terminal_that_is_not_known_is_an_error(self):
        # ncurses itself forgets some memory then, which a sanitizer would call ours.
        self.env["ASAN_OPTIONS"] = "detect_leaks=0"
        self.start(term="no-such-terminal")
        self.assertEqual(self.top.wait(PATIENCE_S), 1)
        self.assertIn("terminal is not known", self.top.stderr.read())


if __name__ == "__main__":
    unittest.main()
