#!/bin/sh
# Written by kinstall. Makes the switches that carry packets between the hosts'
# pods, the cable from them to the pods' bridge, and loads their flows. It may be
# run again at any time; what is right is left alone.
set -eu
exec 9>/run/kinstall-openvswitch.lock
flock 9 # an apply and the unit may want it at the same time
pods={{sh .Bridge}}

mac() { # INTERFACE
	ip -o link show dev "$1" | sed 's|.* link/ether \([^ ]*\) .*|\1|'
}
{{- if .Userspace}}

# Tunnels of the userspace datapath leave through an interface that is itself a
# port of a switch, and that switch has the addresses: a MAC address that changed
# would not be known to the other hosts for a quarter of an hour.
ovs-vsctl -t 30 --may-exist add-br {{sh .Underlay}} -- set bridge {{sh .Underlay}} datapath_type=netdev \
	"other-config:hwaddr=\"$(mac {{sh .Interface}})\"" \
	-- --may-exist add-port {{sh .Underlay}} {{sh .Interface}}
for port in $(ovs-vsctl -t 30 list-ports {{sh .Underlay}}); do
	[ "$port" = {{sh .Interface}} ] || ovs-vsctl -t 30 del-port {{sh .Underlay}} "$port"
done
ip link set dev {{sh .Interface}} up
ip link set dev {{sh .Underlay}} up
ip addr replace {{sh .Address}} dev {{sh .Underlay}}
for address in $(ip -o -4 addr show dev {{sh .Underlay}} | tr -s ' ' | cut -d ' ' -f 4); do
	[ "$address" = {{sh .Address}} ] || ip addr del "$address" dev {{sh .Underlay}}
done
# Nobody completes checksums that the kernel leaves to the hardware.
ethtool -K {{sh .Underlay}} tx off >/dev/null
{{- end}}
{{- if .Gateway}}

# The bridge has a fixed MAC address, so that neighbours find it after a reboot.
ip link add "$pods" address {{sh .MAC}} type bridge 2>/dev/null || ip link show dev "$pods" >/dev/null
ip addr replace {{sh .Gateway}} dev "$pods"
ip link set dev "$pods" up
{{- end}}
# Packets leave by the bridge they came from: no pod is told of a shorter way,
# which would lead past the firewall.
echo 0 >"/proc/sys/net/ipv4/conf/$pods/send_redirects"

# Open vSwitch holds on to an interface that is gone, also when there is another
# one of that name.
if ! ip link show dev {{sh .Port}} >/dev/null 2>&1; then
	ovs-vsctl -t 30 --if-exists del-port {{sh .Port}}
	ip link add {{sh .Port}} mtu {{.MTU}} type veth peer name {{sh .Cable}} mtu {{.MTU}}
fi
ip link set dev {{sh .Port}} mtu {{.MTU}} up
ip link set dev {{sh .Cable}} mtu {{.MTU}} up
case "$(ip -o link show dev {{sh .Cable}}) " in
*" master $pods "*) ;;
*)
	# A bridge that was given no MAC address has one of its ports', and another
	# one when those change.
	ip link set dev "$pods" address "$(mac "$pods")"
	ip link set dev {{sh .Cable}} master "$pods"
	;;
esac
{{- if .Userspace}}
ethtool -K {{sh .Cable}} tx off >/dev/null
{{- end}}

# With fail_mode=secure, what no flow is about does not pass: not before they are
# loaded, and never from one tunnel to another.
ovs-vsctl -t 30 --may-exist add-br {{sh .Switch}} -- set bridge {{sh .Switch}} datapath_type={{if .Userspace}}netdev{{else}}system{{end}} fail_mode=secure \
	-- --may-exist add-port {{sh .Switch}} {{sh .Port}} \
	-- --may-exist add-port {{sh .Switch}} {{sh .Tunnel}} -- set interface {{sh .Tunnel}} type={{sh .Type}} 'options={remote_ip=flow}'
# Flows that stay are not touched.
ovs-ofctl --bundle -O OpenFlow14 replace-flows {{sh .Switch}} {{sh .Flows}}
ip route replace {{sh .Network}} dev "$pods" metric {{.Metric}}
