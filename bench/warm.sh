# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# warm.sh - two hosts that have the memory for a benchmark: see warm_ram.c. Source cleanup.sh and
# hosts.sh first; $build is the build directory.

# hold_page_reporting - have the kernel report no free block below 4 MiB until the end, see warm_ram.c
hold_page_reporting() {
	local order knob=/sys/module/page_reporting/parameters/page_reporting_order

	[ -w "$knob" ] || return 0
	order=$(cat "$knob")
	at_exit sh -c "echo $order > $knob"
	echo 10 > "$knob"
}

# warm_memory HOST MIB - have that much free memory that is really there, in pages as HOST's tmpfs has
#
# A hugetlbfs takes its pages from those that were reserved, and these are warm already.
warm_memory() {
	[ -z "${HOSTS_HUGETLB:-}" ] || return 0
	"$build/bench/warm_ram" "$(host_ram "$1")/warm" "$2"
}

# guest_hosts NAME MEM_MIB MTU - make hosts NAME-a and NAME-b for a guest of this size
guest_hosts() {
	local size=$(($2 + $2 / 8 + 64))

	if [ -n "${HOSTS_HUGE:-}" ]; then
		hold_page_reporting
		size=$((4 * size)) # warm_ram keeps as much again as it frees
	fi
	if [ -n "${HOSTS_HUGETLB:-}" ]; then reserve_huge_pages "$((2 * (($2 + 1) / 2)))"; fi
	make_hosts "$1" "$3" "${size}m"
	if [ -n "${HOSTS_HUGETLB:-}" ]; then warm_huge_pages "$(host_ram "$1-b")/hugetlb/warm" "$2"; fi
}

# warm_huge_pages FILE MEM_MIB - write to all pages reserved for two such guests. Free ones are not
# reported to the hypervisor below.
warm_huge_pages() {
	truncate -s "$((4 * (($2 + 1) / 2)))M" "$1"
	"$build/bench/fill_ram" "$1" zero
	rm "$1"
}
