# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Completion of wherry(1) for bash. Names come from wherryd, if it answers.

# The options of a command.
_wherry_options() {
	case $1 in
	apply) echo "-f --filename --dry-run" ;;
	get) echo "-n --namespace -o --output --json" ;;
	edit) echo "-n --namespace" ;;
	delete) echo "-n --namespace" ;;
	settings) echo "--json" ;;
	explain) echo "-n --namespace --json" ;;
	check) echo "-n --namespace --to --fix-xml --json" ;;
	label) echo "-n --namespace --namespace-name --json" ;;
	migrate) echo "-n --namespace --to --priority --engine --transport --wait --detach" ;;
	cancel) echo "--target-is-off" ;;
	postcopy) echo "" ;;
	recover) echo "" ;;
	set-bandwidth) echo "" ;;
	status) echo "--watch --json" ;;
	top) echo "" ;;
	drain) echo "--wait" ;;
	undrain) echo "" ;;
	events) echo "--follow --json" ;;
	esac
}

_wherry_commands() {
	echo "apply get edit delete settings explain check label migrate cancel postcopy recover" \
		"set-bandwidth status top drain undrain events"
}

_wherry_kinds() {
	echo "hyperconverged kubevirt migrationpolicies namespaces virtualmachines" \
		"virtualmachineinstances virtualmachineinstancemigrations"
}

# _wherry_ask COMMAND... - the same wherryd as on the line that is being completed
_wherry_ask() { "${wherry[@]}" "$@" 2> /dev/null; }

_wherry_nodes() { _wherry_ask get nodes | awk 'NR > 1 { print $1 }'; }
_wherry_names() { _wherry_ask get "$1" --json | sed -n 's/^ *"name": "\([^"]*\)",\{0,1\}$/\1/p'; }
_wherry_migrations() { _wherry_ask status | awk '/ / && $1 != "no" { print $1 }'; }

# VMs are listed in the nodes, two levels below them.
_wherry_vms() {
	_wherry_ask get nodes --json | sed -n 's/^ \{8,\}"name": "\([^"]*\)",\{0,1\}$/\1/p'
}

# _wherry_value OPTION - what may follow it; fails if nothing does
_wherry_value() {
	case $1 in
	--to) _wherry_nodes ;;
	-n | --namespace | --namespace-name) _wherry_names namespaces ;;
	-o | --output) echo "yaml json table" ;;
	--engine) echo "auto offload native" ;;
	--transport) echo "auto tcp rdma" ;;
	--priority) echo "system-critical user-triggered system-maintenance" ;;
	*) return 1 ;;
	esac
}

# _wherry_operand COMMAND NUMBER FIRST - what its operand of that number may be, after that first one
_wherry_operand() {
	case $1-$2 in
	get-0) echo "$(_wherry_kinds) nodes" ;;
	edit-0 | delete-0) _wherry_kinds ;;
	get-1 | edit-1 | delete-1) _wherry_names "$3" ;;
	explain-0 | check-0 | label-0 | migrate-0) _wherry_vms ;;
	cancel-0 | postcopy-0 | recover-0 | set-bandwidth-0 | status-0) _wherry_migrations ;;
	drain-0 | undrain-0) _wherry_nodes ;;
	esac
}

_wherry() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command="" first="" count=0 i words
	local -a wherry=("${COMP_WORDS[0]}")

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket) wherry+=("${COMP_WORDS[i]}" "${COMP_WORDS[++i]}") ;;
		-f | --filename | -n | --namespace | --namespace-name | -o | --output | --to | --priority | --engine | --transport) i=$((i + 1)) ;;
		-*) ;;
		*)
			if [ -z "$command" ]; then
				command=${COMP_WORDS[i]}
			else
				first=${first:-${COMP_WORDS[i]}}
				count=$((count + 1))
			fi
			;;
		esac
	done

	case $before in
	--socket | -f | --filename)
		compopt -o filenames 2> /dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	if ! words=$(_wherry_value "$before"); then
		if [ -z "$command" ]; then
			words="$(_wherry_commands) --socket --help"
		elif [[ $cur == -* ]]; then
			words="$(_wherry_options "$command") --help"
		else
			words=$(_wherry_operand "$command" "$count" "$first")
		fi
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _wherry wherry
