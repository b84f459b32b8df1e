# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# running.sh - a guest that rewrites its memory all the time, ready to be moved while it does: what
# paused.sh is for guests that stand still. Source cleanup.sh, hosts.sh, guest.sh and warm.sh first.

# running_source NAME MEM_MIB RATE_MIB MTU BUILD_DIR PATTERN TOUCH_BYTES - make hosts NAME-a and NAME-b,
# with QEMU on a
#
# Its program (tests/guest/memguest.c) uses half of the RAM. It rewrites half of that, RATE_MIB each
# second in the order PATTERN (see cursor.h), and of each page TOUCH_BYTES. It checks all of it.
# Checking has a pace, too: without one it would take a CPU from whoever moves the guest.
#
# If RATE_MIB is "max", it rewrites and checks all that it uses, as fast as it can, and measures how long
# it waits for its pages.
#
# Sets RUNNING_APPEND, which the destination needs as well, and RUNNING_WAITS if waits are measured.
running_source() {
	local name=$1 mem=$2 rate=$3 mtu=$4 build=$5 pattern=$6 touch=$7 source used

	# shellcheck disable=SC2034 # guest_argv reads it
	GUEST_ACCEL=tcg
	prepare_guest "$build/tests/guest/guest.cpio.gz"
	guest_hosts "$name" "$mem" "$mtu"
	source=$(host_ram "$name-a")
	# What is filled while the clock runs must cost the same in each run.
	warm_memory "$name-a" "$mem"
	warm_memory "$name-b" "$((mem + mem / 16))"

	used=$((mem / 2))
	RUNNING_PAGES=$((used * 256))
	RUNNING_WAITS=''
	RUNNING_APPEND="wherry.mib=$used wherry.pattern=$pattern wherry.touch=$touch"
	if [ "$rate" = max ]; then
		RUNNING_WAITS=1
		RUNNING_APPEND+=" wherry.waits=1"
	else
		RUNNING_APPEND+=" wherry.hot=$((used / 2)) wherry.rate=$rate wherry.check=128"
	fi
	GUEST_HOST=$name-a start_guest vm "$source" "$mem" "$RUNNING_APPEND"
	wait_for_guest vm "$source" || fail "the guest does not boot"
	wait_until 30 guest_verdict "$source/vm.console" > /dev/null ||
		fail "the guest does not check its memory"
}

# running_target NAME MEM_MIB - QEMU on NAME-b, which receives the guest and runs it
running_target() {
	local target

	target=$(host_ram "$1-b")
	GUEST_HOST=$1-b launch_guest vm "$target" "$2" --append "$RUNNING_APPEND" -- -incoming defer
	wait_for_monitor vm "$target" || fail "the destination does not start"
}

# The first or last (head or tail) count of checks on a console.
checks_on() {
	tr -d '\r' < "$2" | sed -n 's/^memguest: checks=\([0-9]*\) errors=.* writes=.*/\1/p' | "$1" -n 1
}

has_checks() { [ -n "$(checks_on tail "$1")" ]; }
has_checked() { [ "$(checks_on tail "$1")" -ge "$2" ]; }

passes_on() { tr -d '\r' < "$1" | grep -c '^memguest: waits pass=.* below_ns' || true; }
has_passed() { [ "$(passes_on "$1")" -ge "$2" ]; }

# running_verdict NAME - wait until the guest on NAME-b has checked each page there, and print how
# that went as members of a JSON object; fails if memory is not what the guest wrote
running_verdict() {
	local source target verdict checks errors

	source=$(host_ram "$1-a")/vm.console
	target=$(host_ram "$1-b")/vm.console
	wait_until 30 has_checks "$target" || fail "the guest is silent at its destination"
	wait_until 60 has_checked "$target" $(($(checks_on head "$target") + RUNNING_PAGES)) ||
		fail "the guest does not go on: $(tail -n 3 "$target")"
	verdict=$(guest_verdict "$source" "$target") || fail "the guest's memory is damaged: $verdict"
	read -r checks errors <<< "$verdict"
	verdict="\"guest_checks\": ${checks#checks=}, \"guest_errors\": ${errors#errors=}"
	if [ -n "$RUNNING_WAITS" ]; then
		# One in which it moved, one at the destination, and one more to see that it is over.
		wait_until 60 has_passed "$target" 3 || fail "the guest does not go on"
		verdict+=", $("$here/waits.py" "$target")"
	fi
	echo "$verdict"
}
