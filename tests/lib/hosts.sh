# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# hosts.sh - two "hosts" on one machine, for tests. Source cleanup.sh first.
#
# A host is a network namespace and a directory with a tmpfs of its own. The namespaces NAME-a and
# NAME-b are joined by a veth pair, which is the migration network: interface "mig0" in both,
# 10.77.0.1 in a and 10.77.0.2 in b. A host may have mounts and a name of its own as well, which the process
# in its file keeper.pid keeps: see libvirt.sh.
#
# HOSTS_CONGESTION, if set, is the hosts' TCP congestion control. Else it is this machine's.
# HOSTS_HUGE, if set, is their tmpfs' option "huge". Else it has small pages.
# HOSTS_HUGETLB, if set, gives each a hugetlbfs of 2 MiB pages as well, for the RAM files of guests. It
# has none to give unless somebody reserves them: see reserve_huge_pages.

HOSTS_RUN=${HOSTS_RUN:-/run/wherry-test}

# host_dir HOST - its directory
host_dir() {
	echo "$HOSTS_RUN/$1"
}

# host_ram HOST - its tmpfs, for guest memory
host_ram() {
	echo "$HOSTS_RUN/$1/ram"
}

# on_host HOST COMMAND [ARGUMENT...] - run it there
#
# Not by "ip netns exec": that mounts a new /sys, and cgroups and bpffs are then out of sight.
on_host() {
	(exec_on_host "$@")
}

# exec_on_host HOST COMMAND [ARGUMENT...] - become it there: after "exec_on_host ... &", $! is its pid
exec_on_host() {
	local host=$1 keeper=''

	shift
	if [ -s "$(host_dir "$host")/keeper.pid" ]; then keeper=$(cat "$(host_dir "$host")/keeper.pid"); fi
	exec nsenter --net="/run/netns/$host" \
		${keeper:+--mount=/proc/$keeper/ns/mnt --uts=/proc/$keeper/ns/uts} -- "$@"
}

make_host() {
	local host=$1 size=$2

	ip netns add "$host"
	ip -n "$host" link set lo up
	if [ -n "${HOSTS_CONGESTION:-}" ]; then
		on_host "$host" sh -c 'echo "$1" > /proc/sys/net/ipv4/tcp_congestion_control' sh \
			"$HOSTS_CONGESTION" || fail "no TCP congestion control '$HOSTS_CONGESTION'"
	fi
	mkdir -p "$(host_ram "$host")"
	mount -t tmpfs -o "size=$size,mode=700,huge=${HOSTS_HUGE:-never}" \
		wherry-test "$(host_ram "$host")"
	if [ -n "${HOSTS_HUGETLB:-}" ]; then mount_hugetlbfs "$host"; fi
}

# reserve_huge_pages N - have the kernel keep so many more of 2 MiB free, until the end
#
# Call it before make_hosts: what is registered first is undone last, when nobody uses them any more.
reserve_huge_pages() {
	local reserved

	reserved=$(mktemp)
	at_exit rm -f "$reserved"
	at_exit give_back_huge_pages "$reserved"
	change_huge_pages "$1" "$reserved" || skip "the kernel does not find $1 huge pages"
}

give_back_huge_pages() {
	if [ -s "$1" ]; then change_huge_pages "-$(cat "$1")" /dev/null; fi
}

# change_huge_pages DIFFERENCE FILE - and say so in FILE; fails, with none added, if there are not as many
#
# Others may change the count as well, so ours is added and taken away. No signal comes in between
# that and FILE.
change_huge_pages() {
	sh -c 'trap "" INT TERM HUP; exec flock "$0" sh -c "$@"' \
		/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages '
		before=$(cat "$0")
		echo $((before + $1)) > "$0"
		if [ "$(cat "$0")" -ne $((before + $1)) ]; then echo "$before" > "$0"; exit 1; fi
		echo "$1" > "$2"' \
		/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages "$1" "$2"
}

# mount_hugetlbfs HOST - RAM files of guests that start there from now on will be on it
mount_hugetlbfs() {
	mkdir "$(host_ram "$1")/hugetlb"
	mount -t hugetlbfs -o pagesize=2M,mode=700 wherry-test "$(host_ram "$1")/hugetlb"
}

# make_hosts NAME [MTU] [SIZE] - make NAME-a and NAME-b, which drop_hosts removes at exit
#
# SIZE is that of each tmpfs, as mount(8) takes it [6g]: a limit, not a reservation.
make_hosts() {
	local name=$1 mtu=${2:-1500} size=${3:-6g}

	at_exit drop_hosts "$name"
	make_host "$name-a" "$size"
	make_host "$name-b" "$size"
	ip link add mig0 netns "$name-a" mtu "$mtu" type veth \
		peer name mig0 netns "$name-b" mtu "$mtu"
	ip -n "$name-a" addr add 10.77.0.1/24 dev mig0
	ip -n "$name-b" addr add 10.77.0.2/24 dev mig0
	ip -n "$name-a" link set mig0 up
	ip -n "$name-b" link set mig0 up
}

# make_cluster NAME SIZE HOST... - make NAME-HOST for each, on one switch; their addresses are 10.77.0.1 and so on
#
# The switch is a bridge in a namespace of its own, NAME-switch. drop_cluster removes all of it at exit.
make_cluster() {
	local name=$1 size=$2 host number=0

	shift 2
	at_exit drop_cluster "$name" "$@"
	ip netns add "$name-switch"
	ip -n "$name-switch" link add switch type bridge
	ip -n "$name-switch" link set switch up
	for host; do
		number=$((number + 1))
		make_host "$name-$host" "$size"
		ip link add mig0 netns "$name-$host" mtu 9000 type veth \
			peer name "port$number" netns "$name-switch" mtu 9000
		ip -n "$name-switch" link set "port$number" master switch
		ip -n "$name-switch" link set "port$number" up
		ip -n "$name-$host" addr add "10.77.0.$number/24" dev mig0
		ip -n "$name-$host" link set mig0 up
	done
}

drop_cluster() {
	local name=$1 host

	shift
	for host; do drop_host "$name-$host"; done
	if [ -e "/run/netns/$name-switch" ]; then ip netns del "$name-switch"; fi
	rmdir "$HOSTS_RUN" 2>/dev/null || true
}

# drop_hosts NAME - remove both hosts with all that runs there; removing them twice is fine
drop_hosts() {
	drop_host "$1-a"
	drop_host "$1-b"
	rmdir "$HOSTS_RUN" 2>/dev/null || true
}

# A process that was killed leaves its namespace before it has let go of all its memory.
drop_mount() {
	if mountpoint -q "$1"; then wait_until 5 umount "$1" 2> /dev/null || umount "$1"; fi
}

drop_host() {
	local host=$1 pid

	if [ -e "/run/netns/$host" ]; then
		for pid in $(ip netns pids "$host"); do end_process "$pid"; done
	fi
	drop_mount "$(host_ram "$host")/hugetlb"
	drop_mount "$(host_ram "$host")"
	if [ -d "$(host_dir "$host")" ]; then rm -r --one-file-system "$(host_dir "$host")"; fi
	if [ -e "/run/netns/$host" ]; then ip netns del "$host"; fi
}
