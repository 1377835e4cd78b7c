#!/bin/sh
# Written by kinstall. Sets the pod network's routes and firewall rules at boot;
# each line may be run again at any time. One that fails stops none of the others.
set -u
failed=0

# rule TABLE CHAIN WORD… puts a rule at the top of a chain, once. A chain that
# is not there is made: DOCKER-USER, which Docker takes as it finds it.
rule() {
	table=$1 chain=$2
	shift 2
	iptables -w -t "$table" -n -L "$chain" >/dev/null 2>&1 || iptables -w -t "$table" -N "$chain" || failed=1
	iptables -w -t "$table" -C "$chain" "$@" 2>/dev/null || iptables -w -t "$table" -I "$chain" 1 "$@" || failed=1
}

# route DESTINATION GATEWAY
route() {
	ip route replace "$1" via "$2" metric {{.Metric}} || failed=1
}

{{range .Rules -}}
rule {{.Table}} {{.Chain}}{{range .Rule}} {{sh .}}{{end}}
{{end}}
{{- range .Routes -}}
route {{sh .Destination}} {{sh .Via}}
{{end -}}
exit $failed
