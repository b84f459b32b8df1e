# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# libvirt.sh - libvirtd on hosts of hosts.sh, each with its own configuration, state and domains. Source
# cleanup.sh, hosts.sh and guest.sh first.
#
# Nothing of it touches the machine's own libvirt: each host has its own /etc, /var and /run (libvirt-host
# makes them), and on_host sees those. QEMU runs as libvirt's default user. From outside one sees
#
#	host_dir/libvirt		/var/lib/libvirt; console files are in its folder console
#	host_dir/libvirt-log			/var/log/libvirt
#	host_ram/ID-DOMAIN/pc.ram	RAM of a domain
#
# Set by prepare_libvirt:
#	LIBVIRT_TREES	what is laid over /usr; empty if the installed versions are used

# libvirtd looks five times a second whether the QEMU that it has ended is gone, and a zombie is not. Who inherits
# the domains' processes has to reap them at once, as a host's init does, and a container's may not: so that is the
# shell that sources this.
if [ -z "${LIBVIRT_REAPED:-}" ]; then
	export LIBVIRT_REAPED=1
	exec python3 -c 'import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
    sys.exit("no subreaper")
os.execvp(sys.argv[1], sys.argv[1:])' bash "$0" "$@"
fi

LIBVIRT_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# prepare_libvirt VERSION - "installed", or "newer": libvirt 11.3 and QEMU 10.0 unpacked beside the system
prepare_libvirt() {
	local tool

	for tool in libvirtd virsh; do
		command -v "$tool" > /dev/null || skip "no $tool: see tests/packages"
	done
	LIBVIRT_TREES=()
	[ "$1" = newer ] || return 0
	prepare_qemu10
	"$LIBVIRT_LIB/fetch-libvirt" "$GUEST_CACHE/libvirt" ||
		skip "no libvirt 11.3: the package mirror is out of reach"
	LIBVIRT_TREES=("$GUEST_CACHE/qemu/tree" "$GUEST_CACHE/libvirt/tree")
}

# make_libvirt_host HOST - give it mounts and a name of its own, for start_libvirtd; all of it ends with the host
#
# libvirtd looks for hooks when it starts: they are put into /etc/libvirt/hooks in between.
make_libvirt_host() {
	local host=$1 dir

	dir=$(host_dir "$host")
	chmod 711 "$(host_ram "$host")" # libvirt's user goes through it, to its own files
	(exec_on_host "$host" unshare --mount --uts "$LIBVIRT_LIB/libvirt-host" "$host" "$dir" \
		"$(host_ram "$host")" "$GUEST_ACCEL" "${LIBVIRT_TREES[@]}") > "$dir/keeper.log" 2>&1 < /dev/null &
	at_exit end_process $!
	wait_until 10 host_is_ready $! "$dir/keeper.log" || true
	grep -q '^ready$' "$dir/keeper.log" || skip "no mounts of its own: $(cat "$dir/keeper.log")"
	echo $! > "$dir/keeper.pid"
	mkdir "$dir/libvirt/console"
	cp "$GUEST_KERNEL" "$dir/libvirt/images/kernel"
	cp "$GUEST_INITRD" "$dir/libvirt/images/initrd"
}

# $build is the build directory of the two that follow.

# install_hook HOST SOCKET - have libvirt, which is started next, ask the wherryd that serves there
# shellcheck disable=SC2154 # whoever sources this sets it
install_hook() {
	# shellcheck disable=SC2016 # the other shell's
	on_host "$1" sh -c 'printf "#!/bin/sh\nexec %s --socket %s \"\$@\"\n" "$1" "$2" \
		> /etc/libvirt/hooks/qemu.d/wherry; chmod 755 /etc/libvirt/hooks/qemu.d/wherry' sh \
		"$build/control/wherry-libvirt-hook" "$2"
}

# write_domain_config NODE - as write_config of wherry.sh does, for a wherryd beside libvirt
write_domain_config() {
	cat > "$(dir_of "$1")/config.yaml" <<-END
		node: $1
		socket: $(socket_of "$1")
		state: $(dir_of "$1")/state
		mover: $build/dataplane/wherry-mover
		cgroup: wherry-$name-$1
		networks: [{name: migration, interface: mig0}]
		nodes: [{name: $(other "$1"), address: $(address_of "$(other "$1")")}]
		metrics: none
		libvirt: {tunnel: $build/dataplane/wherry-tunnel}
	END
}

# listen_on_tcp HOST ADDRESS - let anybody who reaches it there connect to its libvirtd, which is started next
listen_on_tcp() {
	on_host "$1" sh -c 'printf "%s\n" "listen_tcp = 1" "listen_addr = \"$1\"" "auth_tcp = \"none\"" \
		>> /etc/libvirt/libvirtd.conf' sh "$2"
}

host_is_ready() { process_gone "$1" || grep -q '^ready$' "$2"; }

libvirtd_of() { cat "$(host_dir "$1")/libvirtd.pid"; }

libvirt_answers() { virsh_on "$1" version > /dev/null 2>&1; }

# start_libvirtd HOST... - or start it again: domains go on meanwhile
#
# What it asks QEMU takes it some seconds when it starts for the first time: several may do so at once.
start_libvirtd() {
	local host

	for host; do launch_libvirtd "$host"; done
	for host; do
		wait_until 40 libvirt_answers "$host" ||
			fail "no libvirtd: $(tail -n 20 "$(host_dir "$host")/libvirt-log/"libvirtd.*)"
	done
}

launch_libvirtd() {
	exec_on_host "$1" env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent \
		libvirtd --listen --pid-file "$(host_dir "$1")/own.pid" \
		>> "$(host_dir "$1")/libvirt-log/libvirtd.out" 2>&1 < /dev/null &
	echo $! > "$(host_dir "$1")/libvirtd.pid"
	disown # bash would announce its death by SIGKILL
}

# hears_libvirtd NODE - whether its wherryd, of wherry.sh, is connected: one connects again within a second or two, and does not
# say before that that there is no such domain
hears_libvirtd() { wherry "$1" migrate nobody --to "$(other "$1")" 2>&1 | grep 'no such domain' > /dev/null; }

# stop_libvirtd HOST - its domains go on
stop_libvirtd() { end_process "$(libvirtd_of "$1")"; }

# moves_well - whether QEMU, of libvirt's $version, moves memory unharmed itself: before 9.0 it damages guests under TCG
moves_well() { [ "$version" = newer ] || [ "$GUEST_ACCEL" = kvm ]; }

# recall_domain NODE HOST DOMAIN - if libvirtd there has forgotten it, and not ended it, whose QEMU is gone: wherryd refuses
# it until libvirtd is restarted, and asks for that
recall_domain() {
	local refused

	sleep 1 # it may still be at it
	on_host "$2" test -e "/run/libvirt/qemu/$3.xml" || return 0
	refused=$(host_dir "$2")/refused
	exits 1 wherry "$(other "$1")" migrate "$3" --to "$1" > "$refused" 2>&1
	grep "restart libvirtd there.*has forgotten.*/run/libvirt/qemu/$3.xml" "$refused" > /dev/null || give_up "$(cat "$refused")"
	stop_libvirtd "$2"
	sleep 1 # times of files are compared in seconds
	start_libvirtd "$2"
	wait_until 20 hears_libvirtd "$1" || give_up "wherryd of $1 does not hear its libvirtd"
	echo "ok - libvirtd of $1 has forgotten the domain: refused until it is restarted"
}

# virsh_on HOST COMMAND...
virsh_on() {
	local host=$1

	shift
	on_host "$host" virsh --quiet --connect qemu:///system "$@"
}

# domain_xml NAME MEM_MIB [KERNEL_PARAMETER...] - print a domain that both versions run
#
# DOMAIN_DISK, if set, is a block device, or a raw file as the host sees it; DOMAIN_CACHE is its cache mode [none].
domain_xml() {
	local name=$1 mem=$2 cpu

	shift 2
	cpu='<cpu mode="custom" match="exact" check="none"><model>Nehalem</model></cpu>'
	if [ "$GUEST_ACCEL" = kvm ]; then cpu='<cpu mode="host-passthrough"/>'; fi
	cat <<-END
		<domain type="$(if [ "$GUEST_ACCEL" = kvm ]; then echo kvm; else echo qemu; fi)">
		  <name>$name</name>
		  <memory unit="MiB">$mem</memory>
		  <memoryBacking><source type="file"/><access mode="shared"/></memoryBacking>
		  <vcpu current='${GUEST_CPUS:-1}'>${GUEST_CPUS_MAX:-${GUEST_CPUS:-1}}</vcpu>
		  <os>
		    <type machine="pc-q35-7.2">hvm</type>
		    <kernel>/var/lib/libvirt/images/kernel</kernel>
		    <initrd>/var/lib/libvirt/images/initrd</initrd>
		    <cmdline>$(cat "$GUEST_TESTS/guest/parameters") $*</cmdline>
		  </os>
		  <features><acpi/><apic/></features>
		  $cpu
		  <on_reboot>destroy</on_reboot>
		  <devices>
		    <emulator>/usr/bin/qemu-system-x86_64</emulator>
		    <controller type="usb" model="none"/>
		    <serial type="file"><source path="/var/lib/libvirt/console/$name" append="on"/></serial>
		    $(domain_disk_xml)
		    <memballoon model="none"/>
		  </devices>
		</domain>
	END
}

domain_disk_xml() {
	local type=file attribute=file

	[ -n "${DOMAIN_DISK:-}" ] || return 0
	if [ -b "$DOMAIN_DISK" ]; then type=block attribute=dev; fi
	cat <<-END
		<disk type="$type" device="disk">
		  <driver name="qemu" type="raw" cache="${DOMAIN_CACHE:-none}"/>
		  <source $attribute="$DOMAIN_DISK"/>
		  <target dev="vda" bus="virtio"/>
		</disk>
	END
}

# make_shared_disk FILE MIB - set DOMAIN_DISK to a block device that all hosts see, with FILE behind it
#
# A file itself libvirt moves only if it knows the file system to be shared.
make_shared_disk() {
	truncate -s "$2M" "$1"
	DOMAIN_DISK=$(losetup --find --show "$1") || skip "no loop device"
	at_exit losetup --detach "$DOMAIN_DISK"
}

# console_of HOST DOMAIN - the file it writes there
console_of() { echo "$(host_dir "$1")/libvirt/console/$2"; }

# domain_pid HOST DOMAIN - of its QEMU
domain_pid() { on_host "$1" cat "/run/libvirt/qemu/$2.pid"; }

# domain_ram HOST DOMAIN - its RAM file
domain_ram() {
	local id

	id=$(virsh_on "$1" domid "$2")
	echo "$(host_ram "$1")/$id-$2/pc.ram"
}

# start_domain HOST NAME MEM_MIB [KERNEL_PARAMETER...] - define it and boot it
start_domain() {
	local host=$1 name=$2 xml

	shift
	xml=$(host_dir "$host")/$name.xml
	domain_xml "$@" > "$xml"
	virsh_on "$host" define "$xml" > /dev/null || fail "libvirt does not take the domain"
	virsh_on "$host" start "$name" > /dev/null ||
		fail "the domain does not start: $(tail -n 5 "$(host_dir "$host")/libvirt-log/qemu/$name.log")"
}

domain_ready() {
	guest_said_ready "$(console_of "$1" "$2")" || [ "$(domain_state "$1" "$2")" != running ]
}

# wait_for_domain HOST DOMAIN [SECONDS] - until its memory is filled
wait_for_domain() {
	wait_until "${3:-60}" domain_ready "$1" "$2" || true
	if ! guest_said_ready "$(console_of "$1" "$2")"; then
		tail -n 20 "$(console_of "$1" "$2")" "$(host_dir "$1")/libvirt-log/qemu/$2.log" >&2
		return 1
	fi
}

# domain_state HOST DOMAIN - "running", "paused", "shut off"..., "absent" if it is not even defined
domain_state() { virsh_on "$1" domstate "$2" 2> /dev/null | head -n 1 | grep . || echo absent; }

domain_in() { [ "$(domain_state "$1" "$2")" = "$3" ]; }

# domain_verdict HOST DOMAIN - guest_verdict of its console there
domain_verdict() { guest_verdict "$(console_of "$1" "$2")"; }
