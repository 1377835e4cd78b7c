# Supervises one machine: plugs its cable, boots it, boots it again when it asks
# for a reboot, and ends with it. TERM shuts the machine down cleanly. Arguments
# are those of systemd-nspawn; all else comes from the environment:
#   DIR       the machine's folder
#   LOWER     shared root file system
#   CGROUPS   its cgroups, one a line
#   LAB_NS, BRIDGE, NS, VETH, MAC, ADDRESS (with prefix length), GATEWAY,
#   ADDRESS_V6 and GATEWAY_V6 (empty for none)
#   BRIDGE1, VETH1, MAC1 if it has a second cable, which has no address
set -u

start_time() { # of a /proc/PID/stat line; the name in it may hold blanks
	set -- ${1##*) }
	echo "${20}"
}
read -r stat <"/proc/$$/stat"
echo "$$ $(start_time "$stat")" >"$DIR/pid.new" && mv "$DIR/pid.new" "$DIR/pid" || exit 1

# Routes, rules and sysctls of the network don't outlive a boot.
plug() {
	unplug
	ip netns add "$NS" &&
	ip -n "$LAB_NS" link add "$VETH" type veth peer name eth0 address "$MAC" netns "$NS" &&
	ip -n "$LAB_NS" link set "$VETH" master "$BRIDGE" &&
	# A namespace may start with the host's setting.
	nsenter --net="/run/netns/$NS" sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward' &&
	ip -n "$NS" -batch - <<-END || return 1
		link set lo up
		link set eth0 up
		address add $ADDRESS dev eth0
		route add default via $GATEWAY
	END
	if [ -n "${VETH1-}" ]; then
		ip -n "$LAB_NS" link add "$VETH1" type veth peer name eth1 address "$MAC1" netns "$NS" &&
		ip -n "$LAB_NS" link set "$VETH1" master "$BRIDGE1" up || return 1
	fi
	if [ -n "$ADDRESS_V6" ]; then
		nsenter --net="/run/netns/$NS" sh -c 'cd /proc/sys/net/ipv6/conf && echo 0 >all/disable_ipv6 && echo 0 >all/forwarding' &&
		ip -n "$NS" -batch - <<-END || return 1
			address add $ADDRESS_V6 dev eth0 nodad
			route add default via $GATEWAY_V6
		END
	fi
	[ -e "$DIR/cut" ] || ip -n "$LAB_NS" link set "$VETH" up
}

unplug() {
	for cable in "$VETH" "${VETH1-}"; do
		if [ -n "$cable" ] && ip -n "$LAB_NS" link show "$cable" >/dev/null 2>&1; then
			ip -n "$LAB_NS" link delete "$cable"
		fi
	done
	if [ -e "/run/netns/$NS" ]; then
		ip netns delete "$NS"
	fi
}

enter_cgroups() {
	echo "$CGROUPS" | while read -r c; do
		find "$c" -mindepth 1 -depth -type d -exec rmdir {} + # of the boot before
	done
	while read -r c; do
		echo 0 >"$c/cgroup.procs" || return 1 # 0 is the writer
	done <<-END
		$CGROUPS
	END
}

# In a mount namespace of its own: what is mounted here ends with the machine.
boot='
set -e
mount -t tmpfs -o mode=0755 lab /run/systemd/nspawn
mount -t overlay -o "lowerdir=$LOWER,upperdir=$DIR/upper,workdir=$DIR/work" lab "$DIR/root"
exec systemd-nspawn "$@"
'

nspawn=
stopping=
trap 'stopping=1; if [ -n "$nspawn" ]; then kill -TERM "$nspawn"; fi' TERM

mkdir -p /run/systemd/nspawn || exit 1
while [ -z "$stopping" ]; do
	plug || exit 1
	: >"$DIR/booted"
	(
		trap - TERM
		enter_cgroups || exit 1
		exec unshare --mount --propagation slave sh -c "$boot" boot "$@"
	) </dev/null &
	nspawn=$!
	while :; do # a trap interrupts wait
		wait "$nspawn"
		code=$?
		kill -0 "$nspawn" 2>/dev/null || break
	done
	nspawn=
	[ "$code" -eq 133 ] || exit "$code" # systemd-nspawn --keep-unit: asks to be started again
done
