# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# cpu.sh - cgroups of the controller "cpu", for tests. Source cleanup.sh and leftovers.sh first.
#
# Set by make_cpu_group:
#	CPU_ROOT	where the hierarchy with that controller is mounted
#	CPU_GROUP	a cgroup of the test in it, relative to that, removed at exit

CPU_ROOT='' CPU_GROUP=''

# Version 1 has the controller in a hierarchy with its name among the options.
cpu_v1_mount() {
	awk '{ n = NF; for (i = 7; i < n; i++) if ($i == "-" && $(i + 1) == "cgroup" &&
		("," $(i + 3) ",") ~ /,cpu,/) { print $5; exit } }' /proc/self/mountinfo
}

# make_cpu_group NAME - or end the test with words
make_cpu_group() {
	CPU_GROUP=$1
	CPU_ROOT=$(cpu_v1_mount)
	if [ -z "$CPU_ROOT" ]; then
		CPU_ROOT=$(cgroup2_mount)
		[ -n "$CPU_ROOT" ] || skip "no cgroup hierarchy is mounted"
		grep -qw cpu "$CPU_ROOT/cgroup.subtree_control" ||
			skip "the root of cgroup v2 does not hand on the controller 'cpu'"
	fi
	mkdir "$CPU_ROOT/$CPU_GROUP" || skip "no right to make cgroups in $CPU_ROOT"
	at_exit drop_cpu_group
}

drop_cpu_group() {
	wait_until 5 rmdir "$CPU_ROOT/$CPU_GROUP" 2> /dev/null || echo "left: $CPU_ROOT/$CPU_GROUP" >&2
}

# enter_cpu_group PID - with all of its threads
enter_cpu_group() { echo "$1" > "$CPU_ROOT/$CPU_GROUP/cgroup.procs"; }

# cpu_groups_of PID - print where its threads are, each group once: "/a/b"
cpu_groups_of() {
	cat "/proc/$1"/task/*/cgroup 2> /dev/null |
		if [ -n "$(cpu_v1_mount)" ]; then
			sed -n 's/^[0-9]*:\([a-z,]*,\)\{0,1\}cpu\(,[a-z,]*\)\{0,1\}:\(.*\)/\3/p'
		else
			sed -n 's/^0:://p'
		fi | sort -u
}

# cpu_quota_of GROUP - print it: "50000 100000", or "max 100000"
cpu_quota_of() {
	if [ -e "$CPU_ROOT$1/cpu.max" ]; then
		cat "$CPU_ROOT$1/cpu.max"
	else
		echo "$(sed 's/^-1$/max/' "$CPU_ROOT$1/cpu.cfs_quota_us")" \
			"$(cat "$CPU_ROOT$1/cpu.cfs_period_us")"
	fi
}
