# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# paused.sh - a guest that stands still, ready to be moved from one host to the other: the same
# start for every mover that is compared. Source cleanup.sh, hosts.sh, guest.sh and warm.sh first.

# paused_source NAME MEM_MIB CONTENTS MTU BUILD_DIR - make hosts NAME-a and NAME-b, with QEMU on a
#
# CONTENTS is a kind that fill_ram knows, or untouched: a RAM file that is all hole. Sets PAUSED_SOURCE
# and PAUSED_TARGET, the directories for vm.qmp, vm.test.qmp, vm.pid and RAM (ram_file vm DIRECTORY), which
# is memory-backend-file,share=on. The guest never ran, so it has no kernel.
paused_source() {
	local name=$1 mem=$2 contents=$3 mtu=$4 build=$5

	# shellcheck disable=SC2034 # guest_argv reads them
	GUEST_KERNEL='' GUEST_INITRD='' GUEST_ACCEL=tcg
	guest_hosts "$name" "$mem" "$mtu"
	PAUSED_SOURCE=$(host_ram "$name-a")
	PAUSED_TARGET=$(host_ram "$name-b")
	GUEST_HOST=$name-a launch_guest vm "$PAUSED_SOURCE" "$mem" --paused
	wait_for_monitor vm "$PAUSED_SOURCE" || fail "the source does not start"

	# What is filled while the clock runs must cost the same in each run: see warm_ram.c. QEMU
	# reads all memory, and that fills a hole at the source as well. A sparse guest is larger than
	# that, and not for comparing times.
	case $contents in
	untouched) warm_memory "$name-a" "$mem" ;;
	*) "$build/bench/fill_ram" "$(ram_file vm "$PAUSED_SOURCE")" "$contents" ;;
	esac
	[ "$contents" = sparse ] || warm_memory "$name-b" "$((mem + mem / 16))"
}

# paused_target NAME MEM_MIB - QEMU on NAME-b, ready to receive
paused_target() {
	GUEST_HOST=$1-b launch_guest vm "$PAUSED_TARGET" "$2" --incoming
	wait_for_monitor vm "$PAUSED_TARGET" || fail "the destination does not start"
}
