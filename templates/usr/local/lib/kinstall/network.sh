#!/bin/sh
# Written by kinstall. Sets the pod network's routes and firewall rules at boot;
# each line may be run again at any time. One that fails stops none of the others.
set -u
failed=0

{{if .AddressV6 -}}
# forward6 ADDRESS makes a router of IPv6 out of this host. Routers believe no
# advertisements unless they are told to (accept_ra 2), and the kernel then
# forgets the default route it has from one: the interface that holds ADDRESS
# goes on taking what it takes now. Bridges and pods' interfaces take none.
forward6() {
	# shellcheck disable=SC2046 # words: NUMBER DEVICE …
	set -- $(ip -o -6 addr show to "$1")
	accept=/proc/sys/net/ipv6/conf/${2:-none}/accept_ra
	if [ "$(cat "$accept" 2>/dev/null)" = 1 ]; then
		echo 2 >"$accept" || failed=1
	fi
	echo 1 >/proc/sys/net/ipv6/conf/all/forwarding || failed=1
}

{{end -}}
# rule PROGRAM TABLE CHAIN WORD… puts a rule at the top of a chain, once. A chain
# that is not there is made: DOCKER-USER, which Docker takes as it finds it.
rule() {
	program=$1 table=$2 chain=$3
	shift 3
	"$program" -w -t "$table" -n -L "$chain" >/dev/null 2>&1 || "$program" -w -t "$table" -N "$chain" || failed=1
	"$program" -w -t "$table" -C "$chain" "$@" 2>/dev/null || "$program" -w -t "$table" -I "$chain" 1 "$@" || failed=1
}

{{if .AddressV6 -}}
forward6 {{sh .AddressV6}}
{{end -}}
{{range .Rules -}}
rule {{.Program}} {{.Table}} {{.Chain}}{{range .Rule}} {{sh .}}{{end}}
{{end}}
{{- if .Own -}}
# All routes but those by way of this host itself.
sed -e '/^#/d'{{range .Own}} -e {{sh (printf "/ via %s$/d" .)}}{{end}} -e 's/.*/route replace & metric {{.Metric}}/' {{.Routes}} |
	ip -force -batch - || failed=1
{{end -}}
exit $failed
