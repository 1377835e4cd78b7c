# Takes down how things are and starts the timer. Variables set before: base,
# session, run, timeout (s), boot (unit file), wants (its link), names.
set -eu
umask 077
if ! command -v systemd-run >/dev/null; then
	echo "systemd-run is not there, so the host could not put the change back by itself" >&2
	exit 1
fi
for found in "$base"/*/armed "$base"/*/reverting; do
	if ! [ -e "$found" ]; then continue; fi
	of=${found%/*}
	case $found in
	"$base/session-$run"* | */reverting) ;;
	*)
		# Its run is dead, for this one has the lock; and this one has reached the
		# host over a connection of its own, which is what the host waits for.
		if mv -T -- "$found" "$of/confirmed" 2>/dev/null; then
			systemctl stop "kinstall-revert-${of##*/session-}.timer" "kinstall-revert-${of##*/session-}.service" 2>/dev/null || true
			rm -f -- "$wants" "$boot"
			continue
		fi
		;;
	esac
	echo "a change of an earlier run was not confirmed; the host puts it back by itself (at once with: sh $of/revert.sh now)" >&2
	exit 97
done
rm -rf -- "$base"/session-*
mkdir -p -- "$base" "$session/files" "$session/sysctls" "$session/rules" "$session/units" "$session/network"
trap 'rm -rf -- "$session"; rm -f -- "$wants" "$boot"' EXIT
count=0

# file PATH: as it was before a step of this change touched it, if one has.
file() {
	count=$((count + 1))
	printf '%s\n' "$1" >"$session/files/$count.path"
	if [ -e "$base/kept/files$1" ]; then
		cp -fp -- "$base/kept/files$1" "$session/files/$count.content"
	elif [ ! -e "$base/kept/absent$1" ] && [ -e "$1" ]; then
		cp -fp -- "$1" "$session/files/$count.content"
	fi
}

# sysctl PATTERN: every parameter below /proc/sys that the pattern matches.
sysctl() {
	for parameter in /proc/sys/$1; do
		[ -r "$parameter" ] || continue
		count=$((count + 1))
		printf '%s\n' "$parameter" >"$session/sysctls/$count.path"
		cat -- "$parameter" >"$session/sysctls/$count.value" 2>/dev/null || rm -f -- "$session/sysctls/$count".*
	done
}

# rule PROGRAM TABLE CHAIN WORD…
rule() {
	command -v "$1" >/dev/null || return 0
	count=$((count + 1))
	program=$1 table=$2 chain=$3
	shift 3
	there=absent chained=absent
	if "$program" -w -t "$table" -n -L "$chain" >/dev/null 2>&1; then chained=present; fi
	if "$program" -w -t "$table" -C "$chain" "$@" >/dev/null 2>&1; then there=present; fi
	printf '%s\n' "$there" "$chained" "$program" "$table" "$chain" "$@" >"$session/rules/$count"
}

# unit NAME BEFORE AFTER: the scripts go around a restart of it.
unit() {
	count=$((count + 1))
	printf '%s\n' "$1" >"$session/units/$count.name"
	systemctl show -p ActiveState -p UnitFileState -p InvocationID -- "$1" >"$session/units/$count.state"
	printf '%s' "$2" >"$session/units/$count.before"
	printf '%s' "$3" >"$session/units/$count.after"
}

# its_name takes down the host's own name.
its_name() { hostname >"$session/hostname"; }

# link NAME: an interface that goes again if it is not there yet.
link() { printf '%s\n' "$1" >>"$session/network/made"; }
