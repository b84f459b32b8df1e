# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# apt.sh - Debian packages unpacked beside the system instead of installed.
#
# A private apt state keeps the machine's own package lists as they are, so a newer suite can be
# read without being added to the system. The mirror is the one the machine already uses.

# private_apt_open DIR SUITE... - make DIR the state, holding the lists of SUITEs
private_apt_open() {
	apt_dir=$1
	shift
	apt_sources=/etc/apt/sources.list.d/debian.sources
	apt_uri=$(sed -n 's/^URIs: *//p' "$apt_sources" | head -n 1)
	apt_key=$(sed -n 's/^Signed-By: *//p' "$apt_sources" | head -n 1)
	[ -n "$apt_uri" ] || { echo "no URIs in $apt_sources" >&2; return 1; }

	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	for apt_suite; do
		echo "deb ${apt_key:+[signed-by=$apt_key] }$apt_uri $apt_suite main"
	done > "$apt_dir/sources.list"
	private_apt apt-get update
}

# private_apt TOOL ARGUMENT... - run apt-get or apt-cache on that state
private_apt() {
	apt_tool=$1
	shift
	"$apt_tool" -qq -o Dir::Etc::SourceList="$apt_dir/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
		-o Dir::Etc::PreferencesParts=/dev/null -o Dir::State::Lists="$apt_dir/lists" \
		-o Dir::Cache="$apt_dir/cache" -o Debug::NoLocking=true \
		-o APT::Sandbox::User=root "$@"
}

# debian_codename - "bookworm" or "trixie"
debian_codename() {
	sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}
