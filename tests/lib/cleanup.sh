# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# cleanup.sh - what a test made goes away however the test ends: well, badly, or by Ctrl-C.

CLEANUP_COMMANDS=()

# at_exit COMMAND [ARGUMENT...] - run it when the script ends; the last one registered runs first
at_exit() {
	CLEANUP_COMMANDS+=("$(printf '%q ' "$@")")
}

run_cleanup() {
	local i status=$?

	trap '' INT TERM HUP # an impatient second Ctrl-C must not leave half of it behind
	set +e
	for ((i = ${#CLEANUP_COMMANDS[@]} - 1; i >= 0; i--)); do
		eval "${CLEANUP_COMMANDS[i]}"
	done
	exit "$status"
}

trap run_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# skip REASON... - end the test as "cannot run here", which is neither passed nor failed
skip() {
	echo "skipped: $*"
	exit 77
}

# fail REASON... - end the test as failed
fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# wait_until SECONDS COMMAND [ARGUMENT...] - try it until it succeeds, at most for so long
wait_until() {
	local deadline=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.1
	done
}

# end_process PID - TERM, then KILL; returns when it is gone
end_process() {
	kill "$1" 2>/dev/null || return 0
	if ! wait_until 5 process_gone "$1"; then
		kill -KILL "$1" 2>/dev/null || true
		wait_until 5 process_gone "$1"
	fi
}

# A zombie whose threads have all ended holds nothing any more: only its parent has yet to look.
process_gone() {
	local state threads

	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2> /dev/null) || true
	if [ "$state" = Z ]; then
		threads=$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2> /dev/null | wc -l)
		[ "$threads" -le 1 ]
	else
		[ -z "$state" ]
	fi
}
