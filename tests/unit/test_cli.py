#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wherry's own manners, with a wherryd that only answers. Run as: test_cli.py SOURCE_ROOT WHERRY"""

import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(sys.argv[1]) / "tests/lib"))

from cli_rig import (  # noqa: E402 (the path is set above)
    NODES, PATIENCE_S, POLICY, POLICY_YAML, ROOT, SETTINGS, WHERRY, WithWherryd, migration)

sys.path.insert(0, str(ROOT / "tests/lint"))

import check_commands  # noqa: E402


class Usage(WithWherryd):
    def commands(self):
        pairs, _ = check_commands.table((ROOT / check_commands.TABLE).read_text())
        return pairs

    def test_help_lists_every_command(self):
        out, err = self.wherry("--help")
        for command, _ in self.commands():
            self.assertRegex(out, rf"(?m)^  {command} +\w")
        self.assertEqual(err, "")

    def test_help_of_each_command_has_its_options(self):
        for command in {command for command, _ in self.commands()}:
            out, err = self.wherry(command, "--help")
            self.assertTrue(out.startswith(f"usage: wherry {command}"), out)
            for option in [option for name, option in self.commands() if name == command]:
                self.assertIn(option, out)
            self.assertIn("-h, --help", out)
            self.assertEqual(err, "")
            for line in out.splitlines():
                self.assertLessEqual(len(line), 110)

    def test_what_is_wrong_with_a_line_is_said_and_nothing_is_asked(self):
        for arguments, words in (
                ((), "usage: wherry"),
                (("mirgate",), "no command 'mirgate'"),
                (("migrate",), "needs VM"),
                (("migrate", "db1", "b"), "'b' is too much"),
                (("migrate", "db1", "--too", "b"), "no option --too"),
                (("migrate", "db1", "--to"), "--to needs NODE"),
                (("migrate", "db1", "--wait", "--detach"), "either --wait or --detach"),
                (("get", "-x", "vm"), "no option -x"),
                (("get", "vm", "-o", "xml"), "'xml' is none of"),
                (("apply",), "-f FILE is missing"),
                (("status", "--json=no"), "--json takes no value")):
            _, err = self.wherry(*arguments, code=2)
            self.assertIn(words, err)
        self.assertEqual(self.asked(), [])

    def test_it_says_that_no_wherryd_listens(self):
        self.socket.unlink()
        _, err = self.wherry("status", code=1)
        self.assertIn("no wherryd listens at", err)

    def test_it_says_what_wherryd_refuses(self):
        for command in (("cancel", "x"), ("drain", "x"), ("undrain", "x"), ("explain", "x"),
                        ("settings",), ("events",), ("delete", "vm", "x"), ("get", "vm"),
                        ("edit", "vm"), ("migrate", "x"), ("set-bandwidth", "x", "1")):
            self.fake.answers = {command[0]: "the coordinator cannot be reached",
                                 "get": "the coordinator cannot be reached"}
            _, err = self.wherry(*command, code=1)
            self.assertEqual(err, "wherry: the coordinator cannot be reached\n")

    def test_it_refuses_what_is_no_utf_8(self):
        _, err = self.wherry("cancel", b"\xff\xfe", code=1)
        self.assertIn("not UTF-8", err)


class Apply(WithWherryd):
    def setUp(self):
        super().setUp()
        self.fake.answers["apply"] = {"ignored": 0, "objects": [
            {"kind": "MigrationPolicy", "namespace": "", "name": "production",
             "result": "created"}]}

    def file(self, name, text="kind: x\n"):
        path = self.dir / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def test_a_file_is_one_request(self):
        path = self.file("a.yaml", "kind: ä\n")
        out, _ = self.wherry("apply", "-f", path)
        self.assertEqual(out, "MigrationPolicy production created\n")
        self.assertEqual(self.asked(), [{"command": "apply", "name": str(path),
                                         "manifest": "kind: ä\n", "dry_run": False}])

    def test_standard_input_is_a_file_too(self):
        self.wherry("apply", "-f", "-", stdin="kind: y\n")
        self.assertEqual(self.asked()[0]["manifest"], "kind: y\n")

    def test_a_dry_run_says_so(self):
        out, _ = self.wherry("apply", "--dry-run", "-f", self.file("a.yaml"))
        self.assertEqual(out, "MigrationPolicy production created (dry run)\n")
        self.assertEqual([r["dry_run"] for r in self.asked()], [True])

    def test_objects_left_alone_are_counted(self):
        self.fake.answers["apply"] = {"ignored": 2, "objects": [
            {"kind": "VirtualMachine", "namespace": "shop", "name": "db1", "result": "unchanged"}]}
        out, _ = self.wherry("apply", "-f", self.file("a.yaml"))
        self.assertEqual(out, "VirtualMachine shop/db1 unchanged\n"
                              "2 objects of other kinds left alone\n")

    def test_of_several_each_is_checked_before_the_first_is_applied(self):
        first = self.file("z.yaml")
        for name in ("b.yml", "a.yaml", "c.json", ".hidden.yaml", "read.me"):
            self.file(f"d/{name}")
        self.wherry("apply", "-f", first, "--filename", self.dir / "d")
        asked = self.asked()
        names = [str(first)] + [str(self.dir / "d" / n) for n in ("a.yaml", "b.yml", "c.json")]
        self.assertEqual([(r["name"], r["dry_run"]) for r in asked],
                         [(n, True) for n in names] + [(n, False) for n in names])

    def test_a_mistake_in_the_last_one_changes_nothing(self):
        self.fake.answers["apply"] = lambda r: "b.yaml:1:1: bad" if "b.yaml" in r["name"] else {}
        _, err = self.wherry("apply", "-f", self.file("a.yaml"), "-f", self.file("b.yaml"), code=1)
        self.assertEqual(err, "wherry: b.yaml:1:1: bad\n")
        self.assertTrue(all(r["dry_run"] for r in self.asked()))

    def test_what_cannot_be_read_is_named(self):
        (self.dir / "empty").mkdir()
        for n in range(1025):
            self.file(f"many/{n}.yaml")
        (self.dir / "latin.yaml").write_bytes(b"a: \xe4\n")
        for name, words in (("nowhere", "nowhere: No such file"), ("empty", "has no *.yaml"),
                            ("many", "1025 manifests; at most 1024"),
                            ("latin.yaml", "latin.yaml is not UTF-8 text")):
            _, err = self.wherry("apply", "-f", self.dir / name, code=1)
            self.assertIn(words, err)
        self.assertEqual(self.asked(), [])


class Get(WithWherryd):
    def setUp(self):
        super().setUp()
        self.fake.answers["get"] = {"objects": [POLICY]}

    def test_a_table_has_the_columns_of_its_kind(self):
        out, _ = self.wherry("get", "policies", "-n", "x")
        self.assertEqual(out.splitlines(), [
            'NAME        NAMESPACE LABELS  VM LABELS  SETS',
            'production  team=db,tier=""   -          '
            'bandwidthPerMigration=64Mi,allowPostCopy=true'])
        self.assertEqual(self.asked(), [{"command": "get", "kind": "policies", "namespace": "x"}])
        self.fake.answers["get"] = {"objects": [
            {"kind": "VirtualMachine", "namespace": "shop", "name": "db1", "object": {
                "spec": {"template": {"metadata": {"labels": {"size": "l"}}}}}}]}
        self.assertEqual(self.wherry("get", "vm")[0].splitlines(), ["NAMESPACE  NAME  LABELS",
                                                                    "shop       db1   size=l"])

    def test_yaml_of_several_is_one_stream(self):
        self.fake.answers["get"] = {"objects": [POLICY, POLICY]}
        out, _ = self.wherry("get", "policies", "-o", "yaml")
        self.assertEqual(out, POLICY_YAML + "---\n" + POLICY_YAML)

    def test_json_is_the_object_or_a_list_of_them(self):
        out, _ = self.wherry("get", "policy", "production", "-o", "json")
        self.assertEqual(json.loads(out), POLICY["object"])
        out, _ = self.wherry("get", "policy", "--json")
        self.assertEqual(json.loads(out), {"apiVersion": "v1", "kind": "List",
                                           "items": [POLICY["object"]]})
        self.assertEqual([r.get("name") for r in self.asked()], ["production", None])

    def test_an_object_that_is_not_there_is_a_failure(self):
        self.fake.answers["get"] = {"objects": []}
        _, err = self.wherry("get", "policy", "nobody", code=1)
        self.assertEqual(err, "wherry: there is no policy 'nobody'\n")
        _, err = self.wherry("get", "policies")
        self.assertEqual(err, "there are no policies\n")

    def test_hyperconverged_is_shown_as_its_settings(self):
        self.fake.answers["settings"] = {"settings": SETTINGS}
        for command in (("get", "hyperconverged"), ("get", "KubeVirt"), ("get", "hco"), ("settings",)):
            out, _ = self.wherry(*command)
            self.assertEqual(out.splitlines(), [
                "KEY                    VALUE   FROM     MEANING",
                'bandwidthPerMigration  "64Mi"  cluster  limit of each',
                "progressTimeout        150     default  seconds"])
        self.assertEqual({r["command"] for r in self.asked()}, {"settings"})
        out, _ = self.wherry("settings", "--json")
        self.assertEqual(json.loads(out), SETTINGS)
        self.wherry("get", "hyperconverged", "-o", "yaml")
        self.assertEqual(self.asked()[-1], {"command": "get", "kind": "hyperconverged"})

    def test_nodes_have_a_state(self):
        self.fake.answers["get"] = {"nodes": NODES}
        out, _ = self.wherry("get", "nodes")
        self.assertEqual(out.splitlines(), [
            "NAME  STATE    GUESTS  LEAVING  MEMORY    FREE      COORDINATOR",
            "a     drained  1       2        64.0 GiB  32.0 GiB  yes",
            "b     gone     0       0        64.0 GiB  64.0 GiB  -"])
        self.fake.answers["get"] = {"nodes": [{**NODES[1], "seen": False, "drained": True}]}
        self.assertRegex(self.wherry("get", "nodes", "b")[0], r"\nb +never seen, drained +0 ")
        self.fake.answers["get"] = {"nodes": NODES}
        out, _ = self.wherry("get", "nodes", "--json")
        self.assertEqual(json.loads(out), NODES)
        out, _ = self.wherry("get", "nodes", "-o", "yaml")
        self.assertTrue(out.startswith("nodes:\n- name: a\n"), out)

    def test_delete_names_one_object(self):
        self.fake.answers["delete"] = {}
        out, _ = self.wherry("delete", "vm", "db1", "-n", "shop")
        self.assertEqual(out, "vm db1 deleted\n")
        self.assertEqual(self.asked(), [{"command": "delete", "kind": "vm", "namespace": "shop",
                                         "name": "db1"}])


class Explain(WithWherryd):
    ANSWER = {
        "namespace": "shop", "vm": "db1", "node": "a",
        "namespace_labels": {"team": "db"}, "vm_labels": {},
        "policies": [
            {"name": "batch", "matches": False, "score": 0, "wins": False,
             "why": "1 of its 2 labels is not there", "entries": [
                 {"of": "vm", "key": "size", "wants": "", "has": None, "matches": False},
                 {"of": "namespace", "key": "team", "wants": "ops", "has": "db",
                  "matches": False}]},
            {"name": "any", "matches": True, "score": 0, "wins": False,
             "why": "matches 0 labels", "entries": []},
            {"name": "databases", "matches": True, "score": 1, "wins": True,
             "why": "wins with 1", "entries": [
                 {"of": "namespace", "key": "team", "wants": "db", "has": "db",
                  "matches": True}]}],
        "settings": [{**SETTINGS[0], "from": "policy", "policy": "databases"},
                     {**SETTINGS[1], "from": "default"}],
    }

    def test_the_winner_comes_first_and_each_label_is_judged(self):
        self.fake.answers["explain"] = self.ANSWER
        out, _ = self.wherry("explain", "db1", "-n", "shop")
        self.assertEqual(out, """\
VM db1 in namespace shop, on node a: policy databases

Labels of namespace shop
  team  "db"

Labels of the VM: none

Policies
* databases: wins with 1
         LABEL OF   KEY   WANTED  IS
    yes  namespace  team  "db"    "db"
  any: matches 0 labels
  batch: 1 of its 2 labels is not there
        LABEL OF   KEY   WANTED  IS
    NO  vm         size  ""      not there
    NO  namespace  team  "ops"   "db"

Settings of a migration that starts now
KEY                    VALUE   FROM              MEANING
bandwidthPerMigration  "64Mi"  policy databases  limit of each
progressTimeout        150     default           seconds
""")
        self.assertEqual(self.asked(), [{"command": "explain", "vm": "db1", "namespace": "shop"}])

    def test_it_says_where_the_labels_of_the_vm_come_from(self):
        for source, said in (("domain", "domain's metadata"), ("VirtualMachine", "VirtualMachine")):
            self.fake.answers["explain"] = {**self.ANSWER, "vm_labels": {"size": "l"},
                                            "vm_labels_from": source}
            out, _ = self.wherry("explain", "db1")
            self.assertIn(f'\nLabels of the VM, by its {said}\n  size  "l"\n', out)

    def test_without_a_winner_the_cluster_decides(self):
        self.fake.answers["explain"] = {**self.ANSWER, "policies": [], "node": ""}
        out, _ = self.wherry("explain", "db1")
        self.assertIn("on a node that is not known: no policy: the settings of the cluster\n", out)
        self.assertIn("\nPolicies: none\n", out)

    def test_json_is_the_answer(self):
        self.fake.answers["explain"] = self.ANSWER
        out, _ = self.wherry("explain", "db1", "--json")
        self.assertEqual(json.loads(out), self.ANSWER)


class Migrations(WithWherryd):
    def test_detached_it_only_prints_the_id(self):
        self.fake.answers["migrate"] = {"migration": "db1-5f0c2a91"}
        out, _ = self.wherry("migrate", "db1", "--detach")
        self.assertEqual(out, "db1-5f0c2a91\n")
        self.wherry("migrate", "db1", "-n", "shop", "--to", "b", "--priority", "system-critical",
                    "--detach")
        self.assertEqual(self.asked(), [
            {"command": "migrate", "vm": "db1"},
            {"command": "migrate", "vm": "db1", "namespace": "shop", "to": "b",
             "priority": "system-critical"}])

    def test_its_end_is_the_exit_code(self):
        for state, outcome, code in (("Succeeded", "", 0), ("Failed", "failed", 1),
                                     ("Cancelled", "cancelled", 3), ("Failed", "deadline", 4)):
            self.fake.answers = {
                "migrate": {"migration": "db1-5f0c2a91"},
                "status": [{"migrations": [migration(state="Pending", note="waits for a slot")]},
                           {"migrations": [migration(state=state, outcome=outcome,
                                                     reason="of old age")]}]}
            out, err = self.wherry("migrate", "db1", "--to", "b", code=code)
            self.assertIn("Pending  waits for a slot\n", out)
            if code == 0:
                self.assertIn("VM db1 runs on node b (migration db1-5f0c2a91)", out)
            else:
                self.assertEqual(err, f"wherry: migration db1-5f0c2a91 of VM db1: {state}: "
                                      "of old age\n")

    def test_a_migration_out_of_sight_goes_on(self):
        self.fake.answers = {"migrate": {"migration": "db1-5f0c2a91"},
                             "status": [{"migrations": [migration()]}, "node a is away"]}
        _, err = self.wherry("migrate", "db1", code=1)
        self.assertEqual(err.splitlines()[0], "wherry: node a is away")
        self.assertIn("goes on; 'wherry status db1-5f0c2a91' tells how", err)

    def test_what_only_has_a_migration_says_what_happens_to_it(self):
        for command, words in (("cancel", "is being undone"), ("postcopy", "goes into post-copy"),
                               ("recover", "is being resumed")):
            self.fake.answers[command] = {"migration": "db1-5f0c2a91"}
            out, _ = self.wherry(command, "db1")
            self.assertEqual(out, f"migration db1-5f0c2a91 {words}\n")
            self.assertEqual(self.asked(), [{"command": command, "migration": "db1"}])

    def test_that_the_target_is_off_is_said_with_the_cancellation(self):
        self.fake.answers["cancel"] = {"migration": "db1-5f0c2a91"}
        self.wherry("cancel", "db1", "--target-is-off")
        self.assertEqual(self.asked(), [{"command": "cancel", "migration": "db1",
                                         "target_is_off": True}])

    def test_a_limit_is_sent_as_it_was_written(self):
        self.fake.answers["set-bandwidth"] = {"bandwidth_bps": 67108864}
        out, _ = self.wherry("set-bandwidth", "db1", "64Mi")
        self.assertEqual(out, "limit is now 64Mi\n")
        self.assertEqual(self.asked(), [{"command": "set-bandwidth", "migration": "db1",
                                         "rate": "64Mi"}])

    def test_status_tells_of_what_runs_and_of_what_waits(self):
        waiting = {"migration": "db2-00000001", "vm": "db2", "state": "Pending", "over": False,
                   "source": "b", "target": "", "note": "waits for a slot of node b", "place": 1}
        self.fake.answers["status"] = {"warning": "the coordinator is away",
                                       "migrations": [migration(), waiting]}
        out, err = self.wherry("status")
        self.assertEqual(err, "wherry: warning: the coordinator is away\n")
        self.assertEqual(out.splitlines(), [
            "db1-5f0c2a91               a -> b            PreCopy   round 2   75%  1.00 GiB/s  "
            "dirty 0 B/s  left 256 MiB  ETA 250.0 ms",
            "db2-00000001               b -> ?            Pending  waits for a slot of node b"])
        out, _ = self.wherry("status", "db1", "--json")
        self.assertEqual(json.loads(out), [migration(), waiting])
        self.assertEqual(self.asked(), [{"command": "status"},
                                        {"command": "status", "migration": "db1"}])

    def test_what_is_over_waits_for_nothing(self):
        self.fake.answers["status"] = {"migrations": [
            migration(state="Cancelled", note="place 1 in the queue", reason="by the operator")]}
        self.assertTrue(self.wherry("status")[0].endswith("Cancelled: by the operator\n"))

    def test_status_says_that_there_are_none(self):
        self.fake.answers["status"] = {"migrations": []}
        self.assertEqual(self.wherry("status")[0], "no migrations\n")
        self.assertEqual(json.loads(self.wherry("status", "--json")[0]), [])

    def test_watching_looks_until_wherryd_is_gone(self):
        self.fake.answers["status"] = [{"migrations": []}, {"migrations": []}, "it goes away"]
        out, err = self.wherry("status", "--watch", code=1)
        self.assertEqual(out, "no migrations\n" * 2)
        self.assertEqual(err, "wherry: it goes away\n")

    def test_events_are_json_lines_that_go_on_where_they_ended(self):
        self.fake.answers["events"] = [
            {"events": [{"n": 1, "event": "x"}, {"n": 2, "event": "y"}], "last": 2},
            {"events": [{"n": 3, "event": "z"}], "last": 3, "missed": 7},
            "it goes away"]
        out, err = self.wherry("events", "--follow", code=1)
        self.assertEqual([json.loads(line)["n"] for line in out.splitlines()], [1, 2, 3])
        self.assertEqual(err, "wherry: 7 events before these are no longer kept\n"
                              "wherry: it goes away\n")
        self.assertEqual([r["after"] for r in self.asked()], [0, 2, 3])


class Nodes(WithWherryd):
    def test_drain_and_undrain_name_a_node(self):
        self.fake.answers = {"drain": {}, "undrain": {}}
        self.assertEqual(self.wherry("drain", "a")[0], "node a is being drained\n")
        self.assertEqual(self.wherry("undrain", "a")[0], "guests may come to node a again\n")
        self.assertEqual(self.asked(), [{"command": "drain", "node": "a"},
                                        {"command": "undrain", "node": "a"}])

    def test_waiting_ends_when_no_guest_and_no_migration_is_left(self):
        empty = {"nodes": [{**NODES[0], "vms": []}]}
        self.fake.answers = {
            "drain": {}, "get": [{"nodes": NODES}, empty],
            "status": [{"migrations": [migration()]}, {"migrations": [migration()]},
                       {"migrations": [migration(state="Succeeded")]}]}
        out, _ = self.wherry("drain", "a", "--wait")
        self.assertEqual(out.splitlines(), [
            "node a: 1 guest there, 1 migration to end",
            "node a: 0 guests there, 1 migration to end",
            "node a is empty"])
        self.assertIn({"command": "get", "kind": "nodes", "name": "a"}, self.asked())

    def test_waiting_ends_when_somebody_undrains(self):
        self.fake.answers = {"drain": {}, "get": {"nodes": [{**NODES[0], "drained": False}]},
                             "status": {"migrations": []}}
        _, err = self.wherry("drain", "a", "--wait", code=3)
        self.assertEqual(err, "wherry: node a has been undrained\n")


class Completion(WithWherryd):
    def complete(self, *words):
        """What bash offers for the last one of @words."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _wherry\n'
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash", ROOT / "completions/wherry.bash",
                               WHERRY, "--socket", self.socket, *words],
                              capture_output=True, text=True, timeout=PATIENCE_S, cwd=self.dir)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_commands_and_options(self):
        self.assertEqual(self.complete("se"), ["settings", "set-bandwidth"])
        self.assertEqual(self.complete("migrate", "--"), ["--namespace", "--to", "--priority",
                                                          "--engine", "--transport", "--wait",
                                                          "--detach", "--help"])
        self.assertEqual(self.complete("get", "vm", "-o", ""), ["yaml", "json", "table"])

    def test_kinds_files_and_names(self):
        (self.dir / "policy.yaml").touch()
        self.assertEqual(self.complete("get", "mig"), ["migrationpolicies"])
        self.assertEqual(self.complete("get", "nod"), ["nodes"])
        self.assertEqual(self.complete("apply", "-f", "pol"), ["policy.yaml"])
        self.fake.answers = {"get": {"nodes": NODES}, "status": {"migrations": [migration()]}}
        self.assertEqual(self.complete("migrate", "db1", "--to", ""), ["a", "b"])
        self.assertEqual(self.complete("migrate", ""), ["db1", "db2"])
        self.assertEqual(self.complete("drain", ""), ["a", "b"])
        self.assertEqual(self.complete("cancel", ""), ["db1-5f0c2a91"])
        self.fake.answers["get"] = {"objects": [POLICY]}
        self.assertEqual(self.complete("edit", "policy", "p"), ["production"])

    def test_without_wherryd_there_are_no_names(self):
        self.socket.unlink()
        self.assertEqual(self.complete("migrate", ""), [])


if __name__ == "__main__":
    unittest.main()
