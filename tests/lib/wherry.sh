# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# wherry.sh - wherryd on two hosts, and wherry to drive them. Source cleanup.sh, hosts.sh and
# guest.sh first. A node is "a" or "b", as the hosts of hosts.sh are.

# use_wherry HOSTS BUILD VM - HOSTS as given to make_hosts, BUILD the build directory, and the
# guest's name
use_wherry() {
	WHERRY_HOSTS=$1
	WHERRY_BUILD=$2
	WHERRY_VM=$3
	at_exit remove_cgroups
}

node_dir() { host_dir "$WHERRY_HOSTS-$1"; }
node_ram() { host_ram "$WHERRY_HOSTS-$1"; }
node_socket() { echo "$(node_dir "$1")/wherryd.sock"; }
node_address() { if [ "$1" = a ]; then echo 10.77.0.1; else echo 10.77.0.2; fi; }
other_node() { if [ "$1" = a ]; then echo b; else echo a; fi; }
cgroup_mount() { awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo; }

# wherry NODE ARGUMENT... - run the CLI there
wherry() {
	local node=$1

	shift
	on_host "$WHERRY_HOSTS-$node" "$WHERRY_BUILD/control/wherry" \
		--socket "$(node_socket "$node")" "$@"
}

# configure_wherryd NODE [LINE...] - write its configuration, with further lines at the top level
#
# The guest comes in by the command in GUEST_ARGV; see guest_argv.
configure_wherryd() {
	local node=$1 peer

	shift
	peer=$(other_node "$node")
	cat > "$(node_dir "$node")/config.yaml" <<-EOF
		node: $node
		socket: $(node_socket "$node")
		state: $(node_dir "$node")/state
		mover: $WHERRY_BUILD/dataplane/wherry-mover
		cgroup: $WHERRY_HOSTS-$node
		networks:
		  - {name: migration, interface: mig0}
		nodes:
		  - {name: $peer, address: $(node_address "$peer")}
		vms:
		  - name: $WHERRY_VM
		    qmp: $(node_ram "$node")/$WHERRY_VM.qmp
		    incoming: [$(printf '"%s", ' "${GUEST_ARGV[@]}" | sed 's/, $//')]
		$(printf '%s\n' "$@")
	EOF
}

wherryd_answers() { wherry "$1" status > /dev/null 2>&1; }

# start_wherryd NODE - returns when it answers
start_wherryd() {
	local node=$1 dir

	dir=$(node_dir "$node")
	at_exit stop_wherryd "$node"
	# Not by on_host: the pid must be the daemon's own.
	nsenter "--net=/run/netns/$WHERRY_HOSTS-$node" -- "$WHERRY_BUILD/control/wherryd" \
		--config "$dir/config.yaml" >> "$dir/log" 2>&1 < /dev/null &
	echo $! > "$dir/daemon.pid"
	disown
	wait_until 10 wherryd_answers "$node" || fail "wherryd of $node: $(cat "$dir/log")"
}

wherryd_pid() { cat "$(node_dir "$1")/daemon.pid"; }
stop_wherryd() { if [ -s "$(node_dir "$1")/daemon.pid" ]; then end_process "$(wherryd_pid "$1")"; fi; }

show_logs() {
	local node

	for node in a b; do
		echo "--- wherryd of $node"
		tail -n 40 "$(node_dir "$node")/log" 2> /dev/null || true
	done >&2
}

remove_cgroups() {
	local node

	for node in a b; do
		find "$(cgroup_mount)/$WHERRY_HOSTS-$node" -depth -type d -exec rmdir {} + \
			2> /dev/null || true
	done
}
