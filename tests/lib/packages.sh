# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
#
# packages.sh - install what tests/packages lists and this machine lacks. Needs root, and the
# package mirror if anything is missing.

package_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# missing_packages LIST - print the names of LIST that are not installed
missing_packages() {
	sed 's/#.*//' "$1" | while read -r first bar second; do
		[ -n "$first" ] || continue
		package_installed "$first" || { [ -n "$bar" ] && package_installed "$second"; } ||
			echo "$first"
	done
}

# install_missing LIST
install_missing() {
	missing=$(missing_packages "$1")
	[ -n "$missing" ] || return 0
	apt-get update -q
	# shellcheck disable=SC2086 # one word for each package
	apt-get install -q -y --no-install-recommends $missing
}
