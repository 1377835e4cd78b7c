# Puts back what a change was not confirmed for. Run by a timer ("revert.sh",
# which waits until the time has come), at boot ("revert.sh boot", where what
# was in memory is gone by itself), or by hand ("revert.sh now"). It may be run
# any number of times. Variables set before: boot (unit file), wants (its link).
set -uf
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
session=${0%/*} mode=${1-}
cd "$session" || exit 1

# passed tells whether the time has come, which apply may have put off.
passed() {
	read -r up rest </proc/uptime
	[ "${up%%.*}" -ge "$(cat until)" ]
}
if [ -z "$mode" ]; then
	until passed || [ ! -e armed ]; do sleep 1; done
fi
# Whoever renames it decides: this script or the confirmation.
mv -T armed reverting 2>/dev/null || [ -e reverting ] || exit 0

say() {
	printf '%s\n' "$*"
	printf '%s\n' "$*" >>log
}

# try WHAT COMMAND… says what was put back, or why it was not.
try() {
	what=$1
	shift
	if said=$("$@" 2>&1 </dev/null); then say "$what"; else say "could not: $what: $said"; fi
}

# state NUMBER NAME: a property of a unit before; with - in place of the number, now.
state() {
	if [ "$1" = - ]; then
		systemctl show -p "$2" -- "$unit" | sed -n "s/^$2=//p"
	else
		sed -n "s/^$2=//p" "units/$1.state"
	fi
}

# each COMMAND PATTERN runs the command with each number there is, in order.
each() {
	for number in $(set +f; cd "${2%/*}" && ls | sed -n "s/\\${2##*/}\$//p" | sort -n); do "$1" "$number"; done
}

stop_unit() {
	read -r unit <"units/$1.name"
	case $(state "$1" ActiveState) in active | activating | reloading) return ;; esac
	case $(state - ActiveState) in
	active | activating | reloading) try "stopped $unit" timeout 90 systemctl stop -- "$unit" ;;
	esac
}

changed=
place() { cp -fp -- "$1" "$2.kinstall" && sync -- "$2.kinstall" && mv -fT -- "$2.kinstall" "$2"; }
put_file() {
	IFS= read -r path <"files/$1.path"
	if [ -e "files/$1.content" ]; then
		if ! cmp -s -- "files/$1.content" "$path"; then
			mkdir -p -- "${path%/*}"
			try "put back $path" place "files/$1.content" "$path"
			changed=yes
		fi
	elif [ -e "$path" ]; then
		try "removed $path" rm -f -- "$path"
		changed=yes
	fi
	rm -f -- "../kept/files$path" "../kept/absent$path"
}

enable_unit() {
	read -r unit <"units/$1.name"
	before=$(state "$1" UnitFileState) now=$(state - UnitFileState)
	if [ "$before" != enabled ] && [ "$now" = enabled ]; then try "disabled $unit" systemctl disable --quiet -- "$unit"; fi
	if [ "$before" = enabled ] && [ "$now" != enabled ]; then try "enabled $unit" systemctl enable --quiet -- "$unit"; fi
}

put_sysctl() {
	IFS= read -r path <"sysctls/$1.path"
	value=$(cat "sysctls/$1.value")
	[ -e "$path" ] && [ "$(cat "$path" 2>/dev/null)" != "$value" ] || return 0
	try "${path#/proc/sys/} is $(echo $value) again" sh -c 'printf "%s\n" "$1" >"$2"' sh "$value" "$path"
}

put_rule() {
	{
		read -r there && read -r chained && read -r program && read -r table && read -r chain
		set --
		while IFS= read -r word; do set -- "$@" "$word"; done
	} <"rules/$1"
	if [ "$there" = present ]; then
		"$program" -w -t "$table" -C "$chain" "$@" >/dev/null 2>&1 ||
			try "put back the rule $table/$chain $*" "$program" -w -t "$table" -I "$chain" 1 "$@"
		return
	fi
	if "$program" -w -t "$table" -C "$chain" "$@" >/dev/null 2>&1; then
		try "deleted the rule $table/$chain $*" "$program" -w -t "$table" -D "$chain" "$@"
	fi
	# One that others use as well by now stays.
	if [ "$chained" = absent ]; then "$program" -w -t "$table" -X "$chain" >/dev/null 2>&1; fi
	return 0
}

restart_unit() {
	read -r unit <"units/$1.name"
	case $(state "$1" ActiveState) in active | activating | reloading) ;; *) return ;; esac
	if [ "$(state - InvocationID)" = "$(state "$1" InvocationID)" ] && [ "$(state - ActiveState)" = active ]; then
		# Started no more since; it may have read its files again.
		if [ -n "$changed" ] && [ "$(state - CanReload)" = yes ]; then try "reloaded $unit" timeout 90 systemctl reload -- "$unit"; fi
		return
	fi
	sh "units/$1.before" >/dev/null 2>&1 || say "could not: prepare the restart of $unit"
	systemctl reset-failed -- "$unit" 2>/dev/null
	try "restarted $unit" timeout 90 systemctl restart -- "$unit"
	sh "units/$1.after" >/dev/null 2>&1 || say "could not: finish the restart of $unit"
}

# without FILE prints the lines of standard input that are not in a file.
without() { grep -Fxv -f "$1"; }

put_ports() {
	ports | without network/ports | while read -r bridge port; do
		if [ -z "$port" ]; then
			try "deleted the switch $bridge" ovs-vsctl --timeout=10 --if-exists del-br "$bridge"
		elif grep -Fxq -e "$bridge" network/ports; then
			try "took $port out of the switch $bridge" ovs-vsctl --timeout=10 --if-exists del-port "$bridge" "$port"
		fi
	done
}

put_links() {
	if [ -e network/made ]; then
		without network/interfaces <network/made | while read -r link; do
			if ip link show dev "$link" >/dev/null 2>&1; then try "deleted the interface $link" ip link del dev "$link"; fi
		done
	fi
	links >links.now
	without links.now <network/links | while read -r link; do
		if ip link show dev "$link" >/dev/null 2>&1; then
			try "set $link up" ip link set dev "$link" up
		elif [ "$mode" = last ]; then
			say "could not: make the interface $link again"
		fi
	done
}

put_addresses() { # FAMILY
	addresses "$1" >addresses.now
	nodad=
	[ "$1" = 4 ] || nodad=nodad # usable at once: nobody else has it
	without addresses.now <"network/addresses.$1" | while read -r device address broadcast; do
		ip link show dev "$device" >/dev/null 2>&1 || continue
		# It has moved, and moves back.
		while read -r other moved rest; do
			[ "$moved" != "$address" ] || [ "$other" = "$device" ] || ip addr del "$moved" dev "$other" </dev/null
		done <addresses.now
		try "put the address $address back on $device" ip addr replace "$address" $broadcast $nodad dev "$device"
	done
}

put_routes() { # FAMILY
	routes "$1" >routes.now
	# Those of the kernel follow the addresses.
	without "network/routes.$1" <routes.now | grep -v ' proto kernel' | while read -r route; do
		try "deleted the route $route" ip "-$1" route del $route
	done
	routes "$1" >routes.now
	without routes.now <"network/routes.$1" >routes.missing
	# First what next hops are found by.
	{ grep -v ' via ' routes.missing; grep ' via ' routes.missing; } | while read -r route; do
		try "put back the route $route" ip "-$1" route replace $route
	done
}

put_rules() { # FAMILY
	rules "$1" >rules.now
	without "network/rules.$1" <rules.now | while read -r preference rule; do
		try "deleted the routing rule $rule" ip "-$1" rule del pref "${preference%:}" $rule
	done
	without rules.now <"network/rules.$1" | while read -r preference rule; do
		try "put back the routing rule $rule" ip "-$1" rule add pref "${preference%:}" $rule
	done
}

put_network() {
	[ -e network/links ] || return 0
	put_ports
	put_links
	for family in 4 6; do
		put_addresses "$family"
		put_rules "$family"
		put_routes "$family"
	done
}

[ "$mode" = boot ] || each stop_unit units/.name
each put_file files/.path
[ -z "$changed" ] || systemctl daemon-reload
each enable_unit units/.name
if [ -e hostname ] && [ "$(hostname)" != "$(cat hostname)" ]; then try "the hostname is $(cat hostname) again" hostname -- "$(cat hostname)"; fi
if [ "$mode" != boot ]; then
	each put_sysctl sysctls/.path
	for number in $(ls rules | sort -n); do put_rule "$number"; done
	put_network
	each restart_unit units/.name
	# What was started again may have set some of it anew.
	mode=last
	put_network
fi
rm -f -- "$wants" "$boot"
mv -T reverting reverted
sync -- "$session"
