# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# paused.sh - a guest that stands still, ready to be moved from one host to the other: the same
# start for every mover that is compared. Source cleanup.sh, hosts.sh and guest.sh first.

# paused_guests NAME MEM_MIB CONTENTS MTU BUILD_DIR - make hosts NAME-a and NAME-b with QEMU on both
#
# CONTENTS is random, or untouched: a RAM file that is all hole. Sets PAUSED_SOURCE and
# PAUSED_TARGET, the directories that hold vm.ram, vm.qmp, vm.test.qmp and vm.pid. RAM is the same
# on both sides: memory-backend-file,share=on on a tmpfs. The guest never ran: it has no kernel.
paused_guests() {
	local name=$1 mem=$2 contents=$3 mtu=$4 build=$5
	# shellcheck disable=SC2034 # launch_guest reads them
	local GUEST_KERNEL='' GUEST_INITRD='' GUEST_ACCEL=tcg

	make_hosts "$name" "$mtu" "$((mem + mem / 8 + 64))m"
	PAUSED_SOURCE=$(host_ram "$name-a")
	PAUSED_TARGET=$(host_ram "$name-b")
	GUEST_HOST=$name-a launch_guest vm "$PAUSED_SOURCE" "$mem" --paused
	GUEST_HOST=$name-b launch_guest vm "$PAUSED_TARGET" "$mem" --incoming
	wait_for_monitor vm "$PAUSED_SOURCE" || fail "the source does not start"
	wait_for_monitor vm "$PAUSED_TARGET" || fail "the destination does not start"

	# What is filled while the clock runs must cost the same in each run: see warm_ram.c. QEMU
	# reads all memory, and that fills a hole at the source as well.
	case $contents in
	random) "$build/bench/fill_ram" "$PAUSED_SOURCE/vm.ram" ;;
	untouched) "$build/bench/warm_ram" "$PAUSED_SOURCE/warm" "$mem" ;;
	*) fail "contents are random or untouched, not '$contents'" ;;
	esac
	"$build/bench/warm_ram" "$PAUSED_TARGET/warm" "$((mem + mem / 16))"
}
