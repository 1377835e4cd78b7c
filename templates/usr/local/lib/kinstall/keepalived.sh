#!/bin/sh
# Written by kinstall, for keepalived.
#   interface  writes down which interface has this host's address
#   test       asks keepalived whether it would take its configuration
#   answers    exits with 0 while the load balancer on this host takes connections
set -eu

interface() {
	# "2: eth0    inet 10.88.0.11/24 …"
	name=$(ip -o addr show to {{sh .Own}} | sed -n '1s/^[0-9]*: *\([^ @]*\).*/\1/p')
	if [ -z "$name" ]; then
		echo "no interface has the address "{{sh .Own}} >&2
		exit 1
	fi
	mkdir -p -m 0755 {{sh .RunDirectory}}
	printf 'interface %s\n' "$name" >{{sh .InterfaceFile}}
}

case ${1-} in
interface) interface ;;
test)
	interface
	exec keepalived --config-test --log-console
	;;
answers) exec timeout 3 bash -c {{sh .Connect}} ;;
*)
	echo "usage: $0 interface|test|answers" >&2
	exit 64
	;;
esac
