# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# wherry.sh - wherryd on two hosts, "a" and "b", and one guest that moves between them. Source
# cleanup.sh, hosts.sh, guest.sh and leftovers.sh first.
#
# Set by the test, before anything else is called:
#	build	build directory
#	name	of the pair of hosts, for make_hosts
#	vm	name of the guest
#	mem	its RAM in MiB
#	append	kernel parameters, for memguest; empty if there is no kernel
#	expected_status	run state of a guest that has not come to harm [running]
#
# begin_test sees to it that all goes away at exit.
#
# shellcheck disable=SC2154 # they are set there

WHERRY_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

other() { if [ "$1" = a ]; then echo b; else echo a; fi; }
dir_of() { host_dir "$name-$1"; }
ram_of() { host_ram "$name-$1"; }
daemon_log() { echo "$(dir_of "$1")/log"; }
socket_of() { echo "$(dir_of "$1")/wherryd.sock"; }
address_of() { if [ "$1" = a ]; then echo 10.77.0.1; else echo 10.77.0.2; fi; }
daemon_of() { cat "$(dir_of "$1")/daemon.pid"; }
qemu_of() { cat "$(ram_of "$1")/$vm.pid"; }
group_of() { echo "$(cgroup2_mount)/wherry-$name-$1"; }

# wherry NODE COMMAND... - the CLI of one node
wherry() {
	local socket=$HOSTS_RUN/$name-$1/wherryd.sock # without a shell of its own: this is what is waited with

	shift
	"$build/control/wherry" --socket "$socket" "$@"
}

# begin_test [MTU] [SIZE] - make both hosts, as make_hosts does
begin_test() {
	make_hosts "$name" "$@"
	at_exit remove_groups
	at_exit stop_daemon a
	at_exit stop_daemon b
}

remove_groups() {
	local node

	for node in a b; do
		find "$(group_of "$node")" -depth -type d -exec rmdir {} + 2> /dev/null || true
	done
}

# write_config NODE [LINE...] - wherryd's own configuration, with further lines; read at its start
write_config() {
	local node=$1 peer

	shift
	peer=$(other "$node")
	guest_argv "$vm" "$(ram_of "$node")" "$mem" ${append:+--append "$append"} --incoming
	{
		cat <<-END
			node: $node
			socket: $(socket_of "$node")
			state: $(dir_of "$node")/state
			mover: $build/dataplane/wherry-mover
			cgroup: wherry-$name-$node
			networks:
			  - {name: migration, interface: mig0}
			  - {name: unplugged, interface: mig1}
			nodes:
			  - {name: $peer, address: $(address_of "$peer")}
			vms:
			  - name: $vm
			    qmp: $(ram_of "$node")/$vm.qmp
			    incoming: [$(printf '"%s", ' "${GUEST_ARGV[@]}" | sed 's/, $//')]
		END
		printf '%s\n' "$@"
	} > "$(dir_of "$node")/config.yaml"
}

# apply_settings NODE [LINE...] - a HyperConverged manifest with these keys of its section
apply_settings() {
	local node=$1

	shift
	{
		cat <<-END
			apiVersion: hco.kubevirt.io/v1beta1
			kind: HyperConverged
			metadata: {name: kubevirt-hyperconverged}
			spec:
			  liveMigrationConfig:
		END
		printf '    %s\n' "$@"
	} | wherry "$node" apply -f - > /dev/null
}

answers() { wherry "$1" status > /dev/null 2>&1; }

# start_daemon NODE - until it answers; its log is daemon_log it, which only grows
start_daemon() {
	local node=$1

	exec_on_host "$name-$node" "$build/control/wherryd" --config "$(dir_of "$node")/config.yaml" \
		>> "$(daemon_log "$node")" 2>&1 < /dev/null &
	echo $! > "$(dir_of "$node")/daemon.pid"
	disown # bash would announce its death by SIGKILL
	wait_until 10 answers "$node" || fail "$(cat "$(daemon_log "$node")")"
}

stop_daemon() {
	if [ -s "$(dir_of "$1")/daemon.pid" ]; then end_process "$(daemon_of "$1")"; fi
}

kill_daemon() {
	kill -KILL "$(daemon_of "$1")"
	wait_until 5 process_gone "$(daemon_of "$1")" || fail "wherryd of $1 does not die"
}

show_logs() {
	local node

	for node in a b; do
		echo "--- $node"
		tail -n 40 "$(daemon_log "$node")" || true
	done >&2 2> /dev/null
}

# give_up REASON... - fail, with all that is known
give_up() {
	show_logs
	fail "$@"
}

# The mover that runs at a node, if there is one.
mover_at() {
	local leaf

	for leaf in "$(group_of "$1")"/*/; do
		cat "$leaf/cgroup.procs" 2> /dev/null || true
	done
}

status_of() { "$WHERRY_LIB/qmp.py" --status "$(ram_of "$1")/$vm.test.qmp" 2> /dev/null; }
runs_at() { [ "$(status_of "$1")" = running ]; }

# what_is_left NODE - print what must not be there once the guest is at NODE and nowhere else
what_is_left() {
	local node=$1 there

	there=$(other "$node")
	# A QMP socket of a QEMU that was killed is dead, but makes way only if it is removed.
	find "$(ram_of "$there")" "(" -name "$vm.ram" -o -name "$vm.qmp" ")" -printf 'file %p\n'
	find "$(dir_of a)" "$(dir_of b)" -maxdepth 1 "(" -name '*.in' -o -name '*.out' \
		-o -name '*.missing' ")" -printf 'socket %p\n'
	find "$(dir_of a)/state/migrations" "$(dir_of b)/state/migrations" -type f \
		-printf 'journal %p\n'
	find "$(group_of a)" "$(group_of b)" -mindepth 1 -type d -printf 'cgroup %p\n'
	find "/proc/$(daemon_of a)/fd" "/proc/$(daemon_of b)/fd" "(" -lname '*bpf*' -o -lname '*memfd*' \
		-o -lname '*userfaultfd*' -o -lname '*.ram*' ")" -printf 'descriptor %p\n'
	find_processes "$node" '^wherry-mover'
	find_processes "$there" '^wherry-mover\|^qemu'
}

# find_processes NODE PATTERN - those of a node, by their names
find_processes() {
	local pids

	mapfile -t pids < <(ip netns pids "$name-$1")
	[ ${#pids[@]} -gt 0 ] || return 0
	pids=("${pids[@]/#//proc/}")
	grep -sH "$2" "${pids[@]/%//comm}" | sed 's,^/proc/\([0-9]*\)/comm:,process \1 ,'
}

# remember_machine FILE - what expect_nothing_left compares with
#
# It is about these hosts, wherever their guest is and on which memory, and about what has lost its owner. Others may be
# testing, too: their limits are orphans for a moment, and their files are /dev/shm/wherry-*. The
# test's own monitor is unknown to wherryd, and a QEMU that is killed cannot remove its socket.
#
# shellcheck disable=SC2034 # leftovers.sh reads both
remember_machine() {
	LEFTOVERS_ONLY="$name|^bpf .* orphan|/dev/shm/"
	LEFTOVERS_ALIKE="/test\\.qmp\$/d; \\|/dev/shm/wherry-|d; s/$name-[ab]/HOST/; s|/hugetlb/|/|"
	remembered=$1
	leftovers_snapshot | grep -v ' orphan' > "$remembered"
}

# expect_nothing_left WHAT - on the machine, beyond what was there
expect_nothing_left() {
	leftovers_compare "$remembered" 30 || give_up "$1: something is left behind"
}

alone_at() {
	[ -z "$(what_is_left "$1" 2>&1)" ] &&
		vmm_untouched "$(qemu_of "$1")" "$(ram_of "$1")/$vm.test.qmp" \
			"${expected_status:-running}" 2> /dev/null
}

# expect_at NODE WHAT - the guest is at NODE alone, untouched, and nothing else is left
expect_at() {
	if ! wait_until 25 alone_at "$1"; then
		what_is_left "$1" >&2
		vmm_untouched "$(qemu_of "$1")" "$(ram_of "$1")/$vm.test.qmp" || true
		give_up "$2: the guest is not at $1 alone, or something was left"
	fi
}

# checks_of NODE - how many the guest has made, by that console; 0 before its first line there
checks_of() {
	guest_verdict "$(ram_of "$1")/$vm.console" 2> /dev/null | sed 's/checks=\([0-9]*\).*/\1/'
}

checked_more() { [ "$(checks_of "$1")" -gt "$2" ]; }

# How many pages the guest uses, by the console at a, where it was started.
guest_pages() { sed -n 's/^memguest: ready pages=\([0-9]*\).*/\1/p' "$(ram_of a)/$vm.console"; }

# expect_good_memory NODE - the guest goes on there until it has checked each page, and neither console tells of an
# error
expect_good_memory() {
	local before node

	before=$(checks_of "$(other "$1")")
	if [ "$(checks_of "$1")" -gt "$before" ]; then before=$(checks_of "$1"); fi
	wait_until 60 checked_more "$1" "$((before + $(guest_pages)))" || give_up "the guest at $1 does not go on"
	for node in a b; do
		if [ -s "$(ram_of "$node")/$vm.console" ]; then
			guest_verdict "$(ram_of "$node")/$vm.console" > /dev/null ||
				give_up "memory errors: $(grep error "$(ram_of "$node")/$vm.console" | tail -n 5)"
		fi
	done
}

# expect_settled NODE WHAT - the guest is at NODE, with good memory, and nothing is left of the move
expect_settled() {
	expect_at "$1" "$2"
	expect_nothing_left "$2"
	expect_good_memory "$1"
	echo "ok - $2"
}

# expect_undone WHAT - the guest never left a
expect_undone() { expect_settled a "$1"; }

stands_still_at() { ! runs_at "$1"; }

reason_is() { field a "$id" reason | grep -q -- "$1"; }

# expect_reason PATTERN - migration $id ends soon at a, for that reason
expect_reason() {
	wait_until 15 is_over a "$id" || give_up "the migration does not end"
	reason_is "$1" || give_up "the reason does not say '$1': $(field a "$id" reason)"
}

# What can break. Each takes a NODE, the last one SECONDS.

kill_mover() { kill -KILL "$(mover_at "$1")"; }

restart_daemon() { # as systemd would
	kill_daemon "$1"
	start_daemon "$1"
}

link_off_and_on() {
	ip -n "$name-a" link set mig0 down
	sleep "$1"
	ip -n "$name-a" link set mig0 up
}

# stop_daemons - both; fails if one has complained, where it was built with a sanitizer
stop_daemons() {
	stop_daemon a
	stop_daemon b
	if grep -hE 'AddressSanitizer|LeakSanitizer|runtime error' "$(daemon_log a)" "$(daemon_log b)"; then
		fail "a sanitizer complains"
	fi
}

# field NODE MIGRATION PATH - of "wherry status --json": "state", "stats.rounds"
field() {
	wherry "$1" status "$2" --json | python3 -I -S -c '
import functools, json, sys
print(functools.reduce(dict.__getitem__, sys.argv[1].split("."), json.load(sys.stdin)[0]))' "$3"
}

in_state() { [ "$(field "$1" "$2" state 2> /dev/null)" = "$3" ]; }
is_over() { [ "$(field "$1" "$2" over)" = True ]; }

# exits CODE COMMAND... - run it; its exit code must be that
exits() {
	local code=0 want=$1

	shift
	"$@" || code=$?
	[ "$code" = "$want" ] || give_up "exit code $code instead of $want: $*"
}
