# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# slow_disk.sh - have the kernel hold back the reads of a process. Source cleanup.sh and leftovers.sh first.
#
# It does so between the moment when the pages of a read with O_DIRECT are pinned and the moment when the
# device writes them, which is what makes such reads a trouble to whoever copies memory meanwhile.

# prepare_slow_disk NAME FILE READS_PER_S - a cgroup whose processes read the disk that has FILE no faster
prepare_slow_disk() {
	local disk

	SLOW_DISK=/sys/fs/cgroup/blkio/$1
	disk=$(disk_of "$2") || skip "$2 is not on a disk"
	if mountpoint -q /sys/fs/cgroup/blkio; then
		mkdir "$SLOW_DISK"
		at_exit drop_slow_disk
		echo "$disk $3" > "$SLOW_DISK/blkio.throttle.read_iops_device" ||
			skip "this kernel does not hold back reads"
		return
	fi
	SLOW_DISK=$(cgroup2_mount)/$1
	grep -qw io "$(cgroup2_mount)/cgroup.controllers" || skip "no cgroup controller for I/O"
	echo +io > "$(cgroup2_mount)/cgroup.subtree_control" || skip "no cgroup controller for I/O"
	mkdir "$SLOW_DISK"
	at_exit drop_slow_disk
	echo "$disk riops=$3" > "$SLOW_DISK/io.max" || skip "this kernel does not hold back reads"
}

# disk_of FILE - the whole disk that its file system is on, MAJOR:MINOR
disk_of() {
	local device

	device=$(findmnt -no MAJ:MIN --target "$1" | tr -d " ")
	[ -e "/sys/dev/block/$device" ] || return 1
	if [ -e "/sys/dev/block/$device/partition" ]; then
		cat "/sys/dev/block/$device/../dev"
	else
		echo "$device"
	fi
}

# slow_down PID
slow_down() { echo "$1" > "$SLOW_DISK/cgroup.procs"; }

drop_slow_disk() { wait_until 10 rmdir "$SLOW_DISK" 2> /dev/null || rmdir "$SLOW_DISK"; }
