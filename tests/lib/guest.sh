# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# guest.sh - start, watch and stop test guests. Source cleanup.sh first.
#
# Set by prepare_guest, or before it to choose:
#	GUEST_CACHE	what was fetched [/var/cache/wherry-tests]
#	GUEST_QEMU	the emulator [the installed one]
#	GUEST_KERNEL	kernel image
#	GUEST_INITRD	the archive that build-initramfs made
#	GUEST_ACCEL	kvm or tcg
#	GUEST_CPUS	vCPUs [1]
# Set by whoever starts a guest on a host of hosts.sh:
#	GUEST_HOST	network namespace to start it in; empty is here
#	GUEST_PREALLOC	if set, all of its RAM is allocated when it starts
#	GUEST_MORE	array of further arguments of QEMU

GUEST_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GUEST_TESTS=$(dirname "$GUEST_LIB")
GUEST_CACHE=${GUEST_CACHE:-/var/cache/wherry-tests}
GUEST_HOST=${GUEST_HOST:-}
GUEST_MORE=()

# prepare_guest INITRD - see to the kernel and the accelerator; ends the test if there are none
prepare_guest() {
	GUEST_INITRD=$1
	[ -s "$GUEST_INITRD" ] || skip "no guest file system $GUEST_INITRD"
	GUEST_QEMU=${GUEST_QEMU:-$(command -v qemu-system-x86_64)} || skip "no qemu-system-x86_64"
	if [ -z "${GUEST_KERNEL:-}" ]; then
		"$GUEST_TESTS/guest/fetch-kernel" "$GUEST_CACHE/kernel" ||
			skip "no guest kernel: the package mirror is out of reach"
		GUEST_KERNEL=$GUEST_CACHE/kernel/vmlinuz
	fi
	[ -n "${GUEST_ACCEL:-}" ] || choose_accel
}

# prepare_qemu10 - make GUEST_QEMU the QEMU 10.0 unpacked beside the system
prepare_qemu10() {
	"$GUEST_LIB/fetch-qemu" "$GUEST_CACHE/qemu" ||
		skip "no QEMU 10.0: the package mirror is out of reach"
	GUEST_QEMU=$GUEST_CACHE/qemu/qemu-system-x86_64
}

# KVM where it boots this very kernel, else TCG. A /dev/kvm alone proves nothing: some nested ones
# do not run a stock kernel. Found out once for each kernel, then remembered.
choose_accel() {
	local known dir

	known=$GUEST_CACHE/accel-$(uname -r)-$(cksum < "$GUEST_KERNEL" | cut -d ' ' -f 1)
	if [ ! -s "$known" ]; then
		dir=$(mktemp -d)
		at_exit rm -rf "$dir"
		mkdir -p "$GUEST_CACHE"
		if boots_on_kvm "$dir"; then echo kvm; else echo tcg; fi > "$known"
	fi
	GUEST_ACCEL=$(cat "$known")
}

boots_on_kvm() {
	local GUEST_ACCEL=kvm GUEST_HOST='' result=0

	[ -w /dev/kvm ] || return 1
	start_guest probe "$1" 256 wherry.mode=untouched
	wait_for_guest probe "$1" 10 2>/dev/null || result=1
	stop_guest probe "$1"
	return "$result"
}

# ram_file NAME DIR - path of its RAM: on the hugetlbfs that hosts.sh has put there, if there is one
ram_file() {
	if mountpoint -q "$2/hugetlb"; then echo "$2/hugetlb/$1.ram"; else echo "$2/$1.ram"; fi
}

# guest_argv NAME DIR MEM_MIB [OPTION...] - set GUEST_ARGV to the command that becomes its QEMU
#
# OPTIONs are run-guest's. Where DIR has a hugetlbfs (hosts.sh), the RAM file is there. A destination's
# daemon runs exactly this, with --incoming.
guest_argv() {
	local name=$1 dir=$2 mem=$3

	shift 3
	GUEST_ARGV=("$GUEST_TESTS/guest/run-guest" --name "$name" --dir "$dir" --mem "$mem"
		--ram "$(ram_file "$name" "$dir")" --qemu "$GUEST_QEMU" --accel "$GUEST_ACCEL"
		--cpus "${GUEST_CPUS:-1}")
	if [ -n "$GUEST_KERNEL" ]; then
		GUEST_ARGV+=(--kernel "$GUEST_KERNEL" --initrd "$GUEST_INITRD")
	fi
	if [ -n "${GUEST_PREALLOC:-}" ]; then GUEST_ARGV+=(--prealloc); fi
	GUEST_ARGV+=("$@")
	if [ ${#GUEST_MORE[@]} -gt 0 ]; then GUEST_ARGV+=(-- "${GUEST_MORE[@]}"); fi
}

# launch_guest NAME DIR MEM_MIB [OPTION...] - start QEMU with run-guest's options, do not wait
launch_guest() {
	local name=$1 dir=$2

	guest_argv "$@"
	if [ -n "$GUEST_HOST" ]; then
		GUEST_ARGV=(nsenter "--net=/run/netns/$GUEST_HOST" -- "${GUEST_ARGV[@]}")
	fi
	at_exit stop_guest "$name" "$dir"
	"${GUEST_ARGV[@]}" > "$dir/$name.log" 2>&1 < /dev/null &
	wait_until 10 test -s "$dir/$name.pid" || fail "$(cat "$dir/$name.log")"
}

# start_guest NAME DIR MEM_MIB [KERNEL_PARAMETER...] - boot it, with wherry.*= for memguest
start_guest() {
	local name=$1 dir=$2 mem=$3

	shift 3
	launch_guest "$name" "$dir" "$mem" --append "$*"
}

# stop_guest NAME DIR - end it and remove its files
stop_guest() {
	local base=$2/$1

	if [ -s "$base.pid" ]; then end_process "$(cat "$base.pid")"; fi
	rm -f "$(ram_file "$1" "$2")" "$base".{pid,log,qmp,test.qmp,console}
}

# wait_for_monitor NAME DIR - until QEMU answers: all its files exist then
#
# It makes its sockets before its RAM file, and answers when both are there.
wait_for_monitor() {
	"$GUEST_LIB/qmp.py" --status "$2/$1.test.qmp" > /dev/null || {
		cat "$2/$1.log" >&2
		return 1
	}
}

guest_said_ready() {
	grep -qs '^memguest: ready' "$1"
}

# True also when the process ended: waiting longer is no use then.
guest_ready() {
	guest_said_ready "$1" || process_gone "$2"
}

# wait_for_guest NAME DIR [SECONDS] - until its memory is filled
wait_for_guest() {
	local base=$2/$1

	wait_until "${3:-120}" guest_ready "$base.console" "$(cat "$base.pid")" || true
	if ! guest_said_ready "$base.console"; then
		cat "$base.log" >&2
		tail -n 20 "$base.console" >&2 || true
		return 1
	fi
}

# guest_verdict CONSOLE... - print "checks=N errors=N", of consoles in the order they were written
#
# Fails if there is an error or no check. A kernel that stumbled counts, and so does a number of
# checks that went back: then the guest's memory is of an earlier moment. Lines cut in two by a
# move are passed over.
guest_verdict() {
	cat "$@" | tr -d '\r' | awk '
		/^memguest: checks=[0-9]+ errors=[0-9]+ generation=[0-9]+ uptime=[0-9.]+ writes=/ {
			split($2, c, "="); split($3, e, "=")
			if (c[2] + 0 < checks) bad++
			checks = c[2] + 0; errors = e[2] + 0
		}
		/^memguest: error/ { lines++ }
		/Kernel panic|general protection|Oops|segfault|BUG: [^s]/ { bad++ }
		END {
			if (lines > errors) errors = lines
			printf "checks=%d errors=%d\n", checks, errors + bad
			exit !(checks > 0 && errors + bad == 0)
		}'
}
