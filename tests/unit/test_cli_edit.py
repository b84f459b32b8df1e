#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wherry edit, with editors that are scripts. Run as: test_cli_edit.py SOURCE_ROOT WHERRY"""

import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tests/lib"))

from cli_rig import NODES, POLICY, POLICY_YAML, WithWherryd  # noqa: E402 (the path is set above)


class Edit(WithWherryd):
    """The editor is a script that keeps what it is shown, and writes what the test has prepared."""

    def setUp(self):
        super().setUp()
        self.fake.answers["get"] = {"objects": [POLICY]}
        script = self.dir / "editor"
        script.write_text('#!/bin/sh\ncd "$(dirname "$0")" || exit 1\n'
                          'n=$(($(cat count 2> /dev/null || echo 0) + 1))\necho $n > count\n'
                          'cp "$1" "seen.$n"\n[ ! -f "edit.$n" ] || cp "edit.$n" "$1"\n')
        script.chmod(0o755)
        self.env["VISUAL"] = str(script)

    def edits(self, *texts):
        for n, text in enumerate(texts, 1):
            (self.dir / f"edit.{n}").write_text(text)

    def seen(self, n):
        return (self.dir / f"seen.{n}").read_text()

    def kept(self, err):
        return pathlib.Path(re.search(r"is kept in (\S+)", err)[1]).read_text()

    def leaves_no_file(self):
        self.assertEqual(list(self.dir.glob("wherry-edit-*")), [])

    def applied(self):
        return [r for r in self.asked() if r["command"] == "apply"]

    def test_what_was_edited_is_applied_with_its_revision(self):
        self.fake.answers["apply"] = {"objects": [{"result": "configured"}]}
        self.edits(POLICY_YAML.replace("64Mi", "1Gi"))
        out, _ = self.wherry("edit", "policy", "production")
        self.assertEqual(out, "MigrationPolicy production configured\n")
        self.assertTrue(self.seen(1).endswith(POLICY_YAML))
        request = self.applied()[0]
        self.assertIn("bandwidthPerMigration: 1Gi", request["manifest"])
        self.assertEqual(request["edit"], {"kind": "MigrationPolicy", "namespace": "",
                                           "name": "production", "revision": 7})
        self.leaves_no_file()

    def test_left_as_it_was_or_emptied_it_is_cancelled(self):
        for text in (None, "", "# nothing\n\n"):
            if text is not None:
                self.edits(text)
            out, _ = self.wherry("edit", "policy")
            self.assertEqual(out, "edit cancelled, no changes made\n")
            (self.dir / "count").unlink()
        self.assertEqual(self.applied(), [])
        self.leaves_no_file()

    def test_a_mistake_comes_back_with_its_reason_and_its_line(self):
        def judge(request):
            lines = request["manifest"].split("\n")
            bad = [n for n, line in enumerate(lines, 1) if "bandwith" in line]
            return (f"production:{bad[0]}:3: unknown key 'bandwithPerMigration'" +
                    "; and more of it" * 6 if bad else {"objects": [{"result": "configured"}]})

        self.fake.answers["apply"] = judge
        bad = POLICY_YAML.replace("bandwidth", "bandwith")
        self.edits(bad, POLICY_YAML.replace("64Mi", "1Gi"))
        self.wherry("edit", "policy")
        shown = self.seen(2)
        place = re.search(r"production:(\d+):3: unknown key 'bandwithPerMigration'", shown)
        self.assertIn("bandwith", shown.split("\n")[int(place[1]) - 1])
        self.assertIn("NOT APPLIED", shown)
        self.assertTrue(shown.endswith(bad))
        self.assertEqual(shown[:-len(bad)].replace("\n#|", "").count("and more"), 6)
        self.assertTrue(all(line.startswith("#|") for line in shown[:-len(bad)].splitlines()))
        self.assertEqual(len(self.applied()), 2)
        self.leaves_no_file()

    def test_given_up_as_it_was_refused_it_is_kept(self):
        self.fake.answers["apply"] = "production:9:3: bad"
        self.edits("kind: bad\n")
        _, err = self.wherry("edit", "policy", code=1)
        self.assertIn("production:9:3: bad", err)
        self.assertTrue(self.kept(err).endswith("kind: bad\n"))
        self.assertEqual(len(self.applied()), 1)

    def test_changed_by_somebody_else_it_is_kept(self):
        self.fake.answers["get"] = [{"objects": [POLICY]}, {"objects": [{**POLICY, "revision": 8}]}]
        self.fake.answers["apply"] = "changed"
        self.edits("kind: mine\n")
        _, err = self.wherry("edit", "policy", code=1)
        self.assertIn("MigrationPolicy production was changed by somebody else meanwhile", err)
        self.assertEqual(self.kept(err), "kind: mine\n")

    def test_with_wherryd_gone_it_is_kept(self):
        def gone(_):
            raise OSError

        self.fake.answers["apply"] = gone
        self.edits("kind: mine\n")
        _, err = self.wherry("edit", "policy", code=1)
        self.assertIn("wherryd does not answer", err)
        self.assertEqual(self.kept(err), "kind: mine\n")

    def test_an_editor_that_fails_is_named(self):
        self.env["VISUAL"] = "false"
        _, err = self.wherry("edit", "policy", code=1)
        self.assertEqual(err, "wherry: the editor 'false' has failed\n")
        self.leaves_no_file()

    def test_editor_is_used_without_visual(self):
        self.env["EDITOR"] = self.env.pop("VISUAL") + " --wait"
        (self.dir / "editor").write_text('#!/bin/sh\n[ "$1" = --wait ] && : > "$2"\n')
        self.assertIn("cancelled", self.wherry("edit", "policy")[0])

    def test_it_must_be_one_object(self):
        for objects, words in (([], "there is no policy to edit"),
                               ([POLICY, POLICY], "there are 2 objects")):
            self.fake.answers["get"] = {"objects": objects}
            self.assertIn(words, self.wherry("edit", "policy", code=1)[1])
        self.fake.answers["get"] = {"nodes": NODES}
        self.assertIn("nodes cannot be edited", self.wherry("edit", "nodes", code=1)[1])


if __name__ == "__main__":
    unittest.main()
