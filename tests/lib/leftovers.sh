# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# leftovers.sh - what a migration could leave behind. Source cleanup.sh and hosts.sh first.
#
#	leftovers_snapshot > before
#	... migrate there and back, or fail ...
#	leftovers_compare before
#	vmm_untouched "$pid" "$qmp_socket"
#
# A snapshot has no pids and is sorted, so equal states give equal texts. It looks at the whole
# machine: something else that loads BPF programs meanwhile would show up, too. Where that cannot be
# helped, LEFTOVERS_ONLY (an extended regular expression) says which lines matter. LEFTOVERS_ALIKE
# (a sed script) makes lines equal whose difference does not matter.

LEFTOVERS_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# leftovers_snapshot - list everything, one thing a line
leftovers_snapshot() {
	{
		find /run/netns -mindepth 1 -printf 'netns %f\n' 2> /dev/null || true # as long as there is none
		list_cgroups
		list_bpf
		find /dev/shm -mindepth 1 -printf 'file %p\n'
		if [ -d "$HOSTS_RUN" ]; then list_host_files; fi
		list_processes
	} | { grep -E -- "${LEFTOVERS_ONLY:-.}" || true; } | sed -e "${LEFTOVERS_ALIKE:-}" | LC_ALL=C sort
}

# leftovers_compare BEFORE [SECONDS] - fail with a diff if the machine is not as it was
#
# The kernel frees cgroups, programs and namespaces in the background: it gets SECONDS [5] for it.
leftovers_compare() {
	local before=$1

	if ! wait_until "${2:-5}" same_as "$before"; then
		echo "left behind (+) or missing (-):" >&2
		leftovers_snapshot | diff -U 0 "$before" - | grep '^[-+][^-+]' >&2 || true
		return 1
	fi
}

same_as() {
	leftovers_snapshot | cmp -s "$1" -
}

# Where cgroup v2 is mounted differs: /sys/fs/cgroup, or below it on hybrid systems.
CGROUP2_MOUNT=$(sed -n '/ - cgroup2 /{ s/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .*/\1/p; q }' /proc/self/mountinfo)
cgroup2_mount() { echo "$CGROUP2_MOUNT"; }

list_cgroups() {
	local root

	root=$(cgroup2_mount)
	if [ -z "$root" ]; then return; fi
	find "$root" -type d -path '*wherry*' -printf 'cgroup %P\n'
}

# The service manager attaches programs of its own at any time: their names begin with "sd_". What
# is linked to a cgroup is shown with its path; it is an "orphan" if the cgroup is gone.
list_bpf() {
	command -v bpftool > /dev/null || { echo "no bpftool" >&2; return 1; }
	python3 - "$(cgroup2_mount)" <(bpftool -j prog list) <(bpftool -j link list) <<-'END'
		import contextlib, json, os, sys
		root = sys.argv[1]
		progs, links = (json.load(open(p)) for p in sys.argv[2:])
		paths = {}
		for d, _, _ in os.walk(root):
		    with contextlib.suppress(FileNotFoundError):
		        paths[os.stat(d).st_ino] = os.path.relpath(d, root)
		place = {l["id"]: paths.get(l["cgroup_id"], "orphan") for l in links if "cgroup_id" in l}
		used = {l["prog_id"]: place.get(l["id"], "-") for l in links if "prog_id" in l}
		system = {p["id"] for p in progs if p.get("name", "").startswith("sd_")}
		for p in progs:
		    if p["id"] not in system:
		        print("bpf program", p["id"], p["type"], used.get(p["id"], "-"),
		              p.get("name", "-"))
		for l in links:
		    if l.get("prog_id") not in system:
		        print("bpf link", l["id"], l["type"], place.get(l["id"], "-"))
	END
	if [ -d /sys/fs/bpf ]; then find /sys/fs/bpf -mindepth 1 -path '*wh*' -printf 'pin %p\n'; fi
}

# Files of the hosts' directories: guest memory, and sockets nobody serves any more. A guest has a
# console, log and pid file on the host where it was started, and those are the test's own.
list_host_files() {
	find "$HOSTS_RUN" -mindepth 2 "(" -type f -name '*.ram' -o -name '*.qmp' ")" -printf 'file %p\n'
}

# The name, not the command line: tools whose arguments mention wherry are not meant. With the
# network namespace, where it has a name.
list_processes() {
	local comm name

	grep -sHE '^(wherry|qemu)' /proc/[0-9]*/comm | while IFS=: read -r comm name; do
		comm=${comm%/comm}
		echo "process $name $(ip netns identify "${comm#/proc/}")"
	done 2> /dev/null
}

# uffd_traces PID - print what shows that somebody still tracks this process's memory
uffd_traces() {
	find "/proc/$1/fd" -lname 'anon_inode:\[userfaultfd\]' -printf 'descriptor %f\n'
	awk '/^[0-9a-f]+-[0-9a-f]+ / { range = $1 }
		/^VmFlags:.* u[imw]( |$)/ { print "registered", range }' "/proc/$1/smaps"
}

# vmm_untouched PID QMP [STATE] - fail unless the hypervisor is as if it had never been migrated
#
# STATE is the run state it must have [running].
vmm_untouched() {
	local pid=$1 qmp=$2 state=${3:-running} found result=0

	found=$(uffd_traces "$pid")
	if [ -n "$found" ]; then echo "userfaultfd in $pid: $found" >&2; result=1; fi
	found=$("$LEFTOVERS_LIB/qmp.py" --state "$qmp") || result=1
	if [ "$found" != "$state" ]; then echo "$qmp: '$found', not '$state' and no capability" >&2; result=1; fi
	if ptraced "$pid"; then echo "$pid is being traced" >&2; result=1; fi
	return "$result"
}

ptraced() {
	! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$1/status"
}
