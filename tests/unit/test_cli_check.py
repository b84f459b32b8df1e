#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wherry check and wherry label, with a wherryd that only answers. Run as: test_cli_check.py
SOURCE_ROOT WHERRY"""

import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tests/lib"))

from cli_rig import WithWherryd  # noqa: E402 (the path is set above)


def check(rule, words, about="domain", **others):
    return {"about": about, "rule": rule, "good": True, "note": False, "fixable": False,
            "is": words, **others}


FINE = check("memory-file", "its RAM is in named files")
NOTE = check("disks-shared", "disk vda is /a: the other host must see it, too", note=True)
PRIVATE = check("memory-shared", "its RAM is private", good=False, fixable=True,
                remedy="<access mode='shared'/>")
OLD = check("kernel-tracking", "its kernel cannot track memory", about="node b", good=False,
            remedy="Linux 6.7 or newer")


class Check(WithWherryd):
    def answer(self, *checks, to=""):
        self.fake.answers["check"] = {"vm": "db1", "node": "a", "to": to, "checks": list(checks),
                                      "good": all(c["good"] for c in checks)}

    def test_what_can_be_moved_is_said_to_be(self):
        self.answer(FINE, NOTE)
        out, _ = self.wherry("check", "db1")
        self.assertEqual(out, """\
VM db1 on node a can be moved

OK        OF      WHAT          IS THE CASE
yes, but  domain  disks-shared  disk vda is /a: the other host must see it, too
yes       domain  memory-file   its RAM is in named files
""")
        self.assertEqual(self.asked(), [{"command": "check", "vm": "db1", "fix": False}])

    def test_what_is_in_the_way_comes_first_and_with_its_remedy(self):
        self.answer(FINE, PRIVATE, NOTE, OLD, to="b")
        out, _ = self.wherry("check", "db1", "--to", "b", "-n", "prod", code=1)
        self.assertEqual(out, """\
VM db1 on node a can NOT be moved to node b: 2 things are in the way

OK        OF      WHAT             IS THE CASE
NO        domain  memory-shared    its RAM is private
NO        node b  kernel-tracking  its kernel cannot track memory
yes, but  domain  disks-shared     disk vda is /a: the other host must see it, too
yes       domain  memory-file      its RAM is in named files

What would make each NO a yes
  memory-shared (*)  <access mode='shared'/>
  kernel-tracking    Linux 6.7 or newer

(*) 'wherry check db1 --fix-xml' prints the XML with this done. Define it with 'virsh define',
    then shut the guest down and start it: what runs now keeps its memory as it is.
""")
        self.assertEqual(self.asked(), [{"command": "check", "vm": "db1", "namespace": "prod",
                                         "to": "b", "fix": False}])

    def test_what_nobody_can_fix_is_not_said_to_be_fixable(self):
        self.answer(OLD)
        out, _ = self.wherry("check", "db1", code=1)
        self.assertIn(": 1 thing is in the way\n", out)
        self.assertNotIn("--fix-xml", out)

    def test_json_is_the_answer_with_the_same_exit_code(self):
        for checks, code in (([FINE], 0), ([FINE, OLD], 1)):
            self.answer(*checks)
            out, _ = self.wherry("check", "db1", "--json", code=code)
            self.assertEqual(json.loads(out)["checks"], checks)

    def test_fixed_xml_is_printed_and_nothing_else(self):
        self.fake.answers["check"] = {"vm": "db1", "node": "a", "xml": "<domain>ä</domain>\n"}
        out, err = self.wherry("check", "db1", "--fix-xml")
        self.assertEqual((out, err), ("<domain>ä</domain>\n", ""))
        self.assertEqual(self.asked(), [{"command": "check", "vm": "db1", "fix": True}])
        for more in (("--to", "b"), ("--json",)):
            _, err = self.wherry("check", "db1", "--fix-xml", *more, code=2)
            self.assertIn("prints XML and nothing else", err)

    def test_what_cannot_be_checked_is_a_failure(self):
        self.fake.answers["check"] = "there is no VM 'db1' on node a"
        _, err = self.wherry("check", "db1", code=1)
        self.assertEqual(err, "wherry: there is no VM 'db1' on node a\n")


class Label(WithWherryd):
    def setUp(self):
        super().setUp()
        self.fake.answers["label"] = {"namespace": "prod", "labels": {
            "example.com/tier": "", "role": "database"}}

    def test_labels_are_shown(self):
        out, _ = self.wherry("label", "db1")
        self.assertEqual(out, 'namespace prod\n  example.com/tier  ""\n'
                              '  role              "database"\n')
        self.assertEqual(self.asked(), [{"command": "label", "vm": "db1", "set": {}, "remove": []}])
        self.fake.answers["label"] = {"namespace": "default", "labels": {}}
        self.assertEqual(self.wherry("label", "db1")[0], "namespace default, no labels\n")

    def test_all_changes_are_one_request(self):
        out, _ = self.wherry("label", "db1", "role=database", "old-", "example.com/tier=", "a=b=c",
                             "x/y-", "--namespace-name", "prod", "-n", "test", "--json")
        self.assertEqual(json.loads(out), {"namespace": "prod", "labels": {
            "example.com/tier": "", "role": "database"}})
        self.assertEqual(self.asked(), [{
            "command": "label", "vm": "db1", "namespace": "test", "name_space": "prod",
            "set": {"role": "database", "example.com/tier": "", "a": "b=c"},
            "remove": ["old", "x/y"]}])

    def test_what_is_no_change_is_not_asked_for(self):
        for change, words in (("role", "'role' is neither key=value nor key-"),
                              ("-", "there is no option -"), ("a=1", "'a' is given twice")):
            _, err = self.wherry("label", "db1", "a=0", "--", change, code=2) if change != "-" else \
                self.wherry("label", "db1", "-x", code=2)
            self.assertIn(words, err)
        _, err = self.wherry("label", "db1", b"a=\xff", code=1)
        self.assertIn("not UTF-8", err)
        self.assertEqual(self.asked(), [])


if __name__ == "__main__":
    unittest.main()
