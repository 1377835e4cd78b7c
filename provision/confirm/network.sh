# What a snapshot of the network and its comparison have in common.

# routes FAMILY prints the routes of all tables, one a line, in the words of "ip
# route replace". The table local follows from the addresses and is left out; so
# is what says how a route is just now.
routes() {
	ip -o "-$1" route show table all 2>/dev/null | sed -e '/ table local/d' -e 's/\\/ /g' \
		-e 's/ expires [^ ]*//' -e 's/ error -*[0-9]*//' -e 's/ linkdown//g' -e 's/ dead//g' -e 's/ [a-z_]*offload[a-z_]*//g' \
		-e 's/[[:space:]][[:space:]]*/ /g' -e 's/ $//'
}

# rules FAMILY prints the rules by which tables are chosen, "PREFERENCE: WORDS".
rules() { ip "-$1" rule show 2>/dev/null | sed -e 's/[[:space:]][[:space:]]*/ /g' -e 's/ $//'; }

# addresses FAMILY prints "DEVICE ADDRESS/LENGTH [brd BROADCAST]", without those
# that the kernel finds by itself.
addresses() {
	ip -o "-$1" addr show 2>/dev/null | sed -e '/ scope link/d' -e '/ inet6 .* dynamic/d' \
		-e 's/^[0-9]*: *\([^ ]*\) *inet6* \([^ ]*\)\( brd [^ ]*\)\{0,1\} .*/\1 \2\3/'
}

# links prints the names of interfaces that are up.
links() { ip -o link show up 2>/dev/null | sed -e 's/^[0-9]*: *\([^:@ ]*\)[:@].*/\1/'; }

# interfaces prints the names of all.
interfaces() { ip -o link show 2>/dev/null | sed -e 's/^[0-9]*: *\([^:@ ]*\)[:@].*/\1/'; }

# ports prints "BRIDGE PORT" of Open vSwitch, and "BRIDGE" for the bridge itself.
ports() {
	command -v ovs-vsctl >/dev/null || return 0
	ovs-vsctl --timeout=5 list-br 2>/dev/null | while read -r bridge; do
		echo "$bridge"
		ovs-vsctl --timeout=5 list-ports "$bridge" 2>/dev/null | sed -e "s/^/$bridge /"
	done
}

# network DIRECTORY writes all of that into files.
network() {
	for family in 4 6; do
		routes "$family" >"$1/routes.$family"
		rules "$family" >"$1/rules.$family"
		addresses "$family" >"$1/addresses.$family"
	done
	links >"$1/links"
	interfaces >"$1/interfaces"
	ports >"$1/ports"
}
