# SPDX-License-Identifier: Apache-2.0
"""What tests of the program wherry share. Their first arguments are SOURCE_ROOT and WHERRY."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import fake_wherryd

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()
WHERRY = pathlib.Path(sys.argv.pop(1)).resolve()

PATIENCE_S = 60

POLICY_YAML = """\
apiVersion: migrations.kubevirt.io/v1alpha1
kind: MigrationPolicy
metadata:
  name: production
spec:
  bandwidthPerMigration: 64Mi
  selectors: {}
"""

POLICY = {
    "kind": "MigrationPolicy", "namespace": "", "name": "production", "revision": 7,
    "yaml": POLICY_YAML,
    "object": {
        "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy",
        "metadata": {"name": "production"},
        "spec": {"bandwidthPerMigration": "64Mi", "allowPostCopy": True, "selectors": {
            "namespaceSelector": {"team": "db", "tier": ""}}},
    },
}

SETTINGS = [
    {"key": "bandwidthPerMigration", "value": "64Mi", "given": True, "help": "limit of each"},
    {"key": "progressTimeout", "value": 150, "given": False, "help": "seconds"},
]

NODES = [
    {"name": "a", "alive": True, "seen": True, "drained": True, "coordinator": True,
     "reported_ms": 12, "memory_bytes": 2**36, "free_bytes": 2**35, "outbound": 2,
     "vms": [{"namespace": "default", "name": "db1", "here": True, "memory_bytes": 2**30},
             {"namespace": "default", "name": "db2", "here": False, "memory_bytes": 2**30}]},
    {"name": "b", "alive": False, "seen": True, "drained": False, "coordinator": False,
     "reported_ms": 99000, "memory_bytes": 2**36, "free_bytes": 2**36, "outbound": 0, "vms": []},
]


def migration(name="db1-5f0c2a91", state="PreCopy", **others):
    """An entry of "status", with what all of them have."""
    return {"migration": name, "vm": name.split("-")[0], "namespace": "default", "role": "source",
            "peer": "b", "source": "a", "target": "b", "state": state,
            "over": state in ("Succeeded", "Failed", "Cancelled"), "outcome": "", "reason": "",
            "note": "", "priority": "user-triggered", "policy": "", "attempt": 1, "place": 0,
            "created_ms": 1764000000000, "bandwidth_bps": 0, "elapsed_ns": 1500000000,
            "copied_ns": 10**9, "moving_ns": 10**9, "postcopy_ns": 0,
            "stats": {"rounds": 2, "round_bytes": 2**30, "left_bytes": 2**28, "rate_bps": 2**30},
            **others}


class WithWherryd(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = pathlib.Path(directory.name)
        self.socket = self.dir / "wherryd.sock"
        self.fake = fake_wherryd.FakeWherryd(self.socket)
        self.addCleanup(self.fake.close)
        self.env = {**os.environ, "TMPDIR": str(self.dir)}

    def wherry(self, *arguments, code=0, stdin=""):
        """Run it; it must end with that code. Standard output, then standard error."""
        done = subprocess.run([WHERRY, "--socket", self.socket, *arguments], input=stdin,
                              capture_output=True, text=True, timeout=PATIENCE_S, env=self.env)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def asked(self):
        """The requests since the last look."""
        requests, self.fake.requests = self.fake.requests, []
        return requests
