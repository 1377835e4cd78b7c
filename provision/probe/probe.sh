# The questions put to a host. POSIX sh: dash, busybox, bash. Nothing on the
# host is changed: no temporary files, no here-documents (some shells keep them
# in files), commands only read.
#
# The generated part that follows this text sets the variables below. A list has
# one entry a line, if not said otherwise. The last line of all runs main, so that
# a script that was cut off runs nothing.
#
#   address         the host's address in the inventory
#   state_path      the host's own record
#   digests_path    recorded digests of large files
#   files           four lines each: INDEX, WANTED-SHA256 or -, FLAGS, PATH;
#                   flags: c content, b of the block, t trusted, - none
#   sysctls         INDEX PATH below /proc/sys
#   modules         INDEX NAME, with underscores
#   units, packages names
#   pods            INDEX NAMESPACE NAME NODE
#   young           ticks, see below, during which a process is not trusted yet
#   docker_images   INDEX REFERENCE
#   paths           INDEX SIZE ADDRESS
#   switches        INDEX BRIDGE PATH, the path - if flows are not asked for
#   etcd_data       INDEX DIRECTORY
#   certificates    INDEX PATH
#   routes4, routes6, images   1 to ask, 0 not to
#   route_tables    a function that calls route_table for each metric
#   firewall_rules  a function that calls firewall for each rule
#
# Every answer is framed as "LABEL ok|failed LENGTH", LENGTH bytes, newline.

set -u -f
LC_ALL=C
TZ=UTC0
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL TZ PATH
unset POSIXLY_CORRECT BLOCK_SIZE BLOCKSIZE DF_BLOCK_SIZE GREP_OPTIONS SYSTEMD_COLORS SYSTEMD_PAGER
nl='
'
IFS=$nl
count=0
# Where the kubelet puts the logs of pods, and where processes are seen.
pod_logs=/var/log/pods
processes=/proc
# Content is compared, shown and kept in memory: this much at most, in bytes, of
# one file and of all together.
content_limit=524288
content_left=1048576

answer() { # LABEL ok|failed TEXT
	count=$((count + 1))
	printf '%s %s %d\n%s\n' "$1" "$2" "${#3}" "$3"
}

has() { command -v "$1" >/dev/null 2>&1; }

# capture LABEL COMMAND... answers with a command's output, or with why it failed.
capture() {
	capture_label=$1
	shift
	if ! has "$1"; then
		answer "$capture_label" failed "$1 is not installed"
	elif capture_out=$("$@" 2>/dev/null); then
		answer "$capture_label" ok "$capture_out"
	else
		capture_status=$?
		case $capture_status in
		124 | 137) answer "$capture_label" failed "${1%%_*} does not answer" ;;
		*) answer "$capture_label" failed "${1%%_*}: exit status $capture_status: $("$@" 2>&1 >/dev/null)" ;;
		esac
	fi
}

# read_clock sets boot and now: the name of this boot, and the ticks of a
# hundredth of a second since it began, as the start times of processes are
# counted (proc(5)). /proc/uptime is not asked: in containers it may be theirs.
read_clock() {
	boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
	start_of "$(cat /proc/self/stat 2>/dev/null)"
	now=$ticks
}

# start_of STAT sets ticks to when a process started: the 22nd field of its stat,
# of which the second may hold any character.
start_of() {
	IFS=' '
	set -- ${1##*) }
	IFS=$nl
	ticks=${20-0}
}

host() {
	answer host.time ok "$host_time"
	answer host.clock ok "$boot $now"
	answer host.address ok "$address"
	capture host.uname uname -n -r -m
	answer host.files ok "$(grep -H '' /etc/os-release /etc/machine-id /proc/meminfo /proc/swaps /sys/devices/system/cpu/online 2>/dev/null)"
	if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
		answer host.cgroup ok v2
	else
		answer host.cgroup ok v1
	fi
	set --
	for path in / /var/lib /var/tmp; do
		if [ -d "$path" ]; then set -- "$@" "$path"; fi
	done
	answer host.disk ok "$*$nl--$nl$(df -P -k "$@" 2>/dev/null)"
	capture host.listen ss -H -l -t -n -p
	capture host.listen_udp ss -H -l -u -n -p
	capture host.addresses ip addr show
	answer host.sysctls ok "$(sysctl_files)"
	if [ ! -e "$state_path" ] && [ ! -L "$state_path" ]; then
		if absent=$(why_absent "$state_path"); then
			answer host.state ok ''
		else
			answer host.state failed "$absent"
		fi
	elif content=$(base64 "$state_path" 2>&1); then
		answer host.state ok "$content"
	else
		answer host.state failed "$content"
	fi
}

# sysctl_files prints what is assigned at boot, as PATH:LINE, and each file for
# itself, with an empty line: one without an assignment may hide another.
sysctl_files() {
	set +f
	set -- /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf
	for path; do
		if [ -e "$path" ]; then echo "$path:"; fi
	done
	grep -H -s '^[[:blank:]]*[-a-z]' "$@"
}

# why_absent PATH succeeds if there is nothing at PATH, and prints why that
# can't be told otherwise.
why_absent() {
	if why=$(stat -c %n "$1" 2>&1 >/dev/null); then
		echo "changed while being looked at"
		return 1
	fi
	case $why in
	*': No such file or directory' | *': Not a directory') return 0 ;;
	esac
	printf '%s\n' "$why"
	return 1
}

# ask_files costs one stat and one sha256sum, however many files there are, and
# one base64 for each file whose content is wanted. Lists hold their columns as
# lines of their own, so that no string needs to be searched: shells are slow
# at that.
ask_files() {
	if [ -z "$files" ]; then return; fi
	trusted=no
	set --
	column=index
	for word in $files; do
		case $column in
		index) column=want ;;
		want) column=flags ;;
		flags)
			column=path
			case $word in *t*) trusted=yes ;; esac
			;;
		path)
			column=index
			set -- "$@" "$word"
			;;
		esac
	done
	if [ "$trusted" = yes ]; then read_digests; fi
	asked=$#
	missing=0
	if ! stats=$(stat -c "%f$nl%u %U %g %G %y %z$nl%i %s %y %z$nl%s$nl%n" "$@" 2>/dev/null); then
		# Absent is only what every message says is absent. A message of another
		# kind makes each missing path be looked at for itself.
		for word in $(stat -c %n "$@" 2>&1 >/dev/null); do
			case $word in
			*': No such file or directory' | *': Not a directory') missing=$((missing + 1)) ;;
			esac
		done
	fi
	set -- $stats
	all_told=no
	if [ $((asked - $# / 5)) -eq "$missing" ]; then all_told=yes; fi

	# Join the questions and stat's answers, which come in the same order, and
	# note what has to be hashed.
	found=
	hash=
	column=index
	for word in $files; do
		case $column in
		index)
			index=$word column=want
			continue
			;;
		want)
			want=$word column=flags
			continue
			;;
		flags)
			flags=$word column=path
			continue
			;;
		esac
		path=$word column=index
		if [ $# -lt 5 ] || [ "$5" != "$path" ]; then
			if [ "$all_told" = yes ]; then
				answer "$index" ok absent
			elif absent=$(why_absent "$path"); then
				answer "$index" ok absent
			else
				answer "$index" failed "$absent"
			fi
			continue
		fi
		digest=-
		case $1 in
		8???)
			digest=hash
			case $flags in *t*) recall_digest "$3|$path" "${3%% *}" ;; esac
			if [ "$digest" = hash ]; then hash=$hash$path$nl; fi
			;;
		esac
		found=$found$index$nl$want$nl$flags$nl$digest$nl$4$nl$1' '$2$nl$path$nl
		shift 5
	done

	# sha256sum answers in the order it was asked; if it failed on any file, each
	# is hashed for itself below.
	set --
	if [ -n "$hash" ]; then
		sums=$(sha256sum $hash 2>/dev/null) && set -- $sums
	fi
	column=index
	for word in $found; do
		case $column in
		index)
			index=$word column=want
			continue
			;;
		want)
			want=$word column=flags
			continue
			;;
		flags)
			flags=$word column=digest
			continue
			;;
		digest)
			digest=$word column=size
			continue
			;;
		size)
			size=$word column=owner
			continue
			;;
		owner)
			owner=$word column=path
			continue
			;;
		esac
		path=$word column=index
		if [ "$digest" = hash ]; then
			if [ $# -gt 0 ]; then
				digest=$1
				shift
			elif ! digest=$(sha256sum "$path" 2>&1); then
				answer "$index" failed "$digest"
				continue
			fi
			digest=${digest%% *}
			digest=${digest#\\} # sha256sum's mark of a name with a backslash
		fi
		case $owner in
		8*)
			case $flags in
			*c*)
				if [ "$digest" != "$want" ]; then
					case $flags in
					*b*)
						if [ "$(block_digest "$path")" = "$want" ]; then
							answer "$index" ok "block $digest $size $owner"
							continue
						fi
						;;
					esac
					if [ "$size" -gt "$content_limit" ] || [ "$size" -gt "$content_left" ]; then
						case $flags:$want in
						*b*:* | *:-) answer "$index" failed "$path: $size bytes are more than can be compared" ;;
						*) answer "$index" ok "large $digest $size $owner" ;;
						esac
						continue
					fi
					content_left=$((content_left - size))
					if content=$(base64 "$path" 2>&1); then
						answer "$index" ok "content $digest $size $owner$nl$content"
					else
						answer "$index" failed "$content"
					fi
					continue
				fi
				;;
			esac
			;;
		a*)
			if target=$(readlink "$path" 2>&1); then
				answer "$index" ok "target $digest $size $owner$nl$target"
			else
				answer "$index" failed "$path: the link can't be read: $target"
			fi
			continue
			;;
		esac
		answer "$index" ok "plain $digest $size $owner"
	done
}

# block_digest PATH hashes kinstall's lines in a file: blocks with the lines that
# enclose them, and whatever looks like the end of one.
block_digest() {
	block=$(sed -n -e '/^# BEGIN kinstall /,/^# END kinstall /{p' -e d -e '}' -e '/^# END kinstall /p' "$1" 2>/dev/null | sha256sum)
	printf '%s\n' "${block%% *}"
}

# read_digests puts each line of the recorded digests into a variable named for
# the file's inode. Of two files with one inode number (on two file systems)
# one is forgotten, and hashed.
read_digests() {
	if [ ! -f "$digests_path" ]; then return; fi
	for word in $(cat "$digests_path" 2>/dev/null); do
		inode=${word#* }
		inode=${inode%% *}
		case $inode in
		'' | *[!0-9]*) continue ;;
		esac
		eval "recorded_$inode=\$word"
	done
}

# recall_digest IDENTITY|PATH INODE sets digest if what is recorded still holds.
recall_digest() {
	eval "record=\${recorded_$2-}"
	known=${record%% *}
	if [ "$record" != "$known $1" ] || [ "${#known}" -ne 64 ]; then return; fi
	case $known in
	*[!0-9a-f]*) ;;
	*) digest=$known ;;
	esac
}

# ask_sysctls reads through grep, all in one: the shell's own read takes one
# byte at a time, and the kernel ends such a file after the first read.
ask_sysctls() {
	if [ -z "$sysctls" ]; then return; fi
	set --
	for line in $sysctls; do
		path=/proc/sys/${line#* }
		if [ -e "$path" ]; then set -- "$@" "$path"; fi
	done
	values=
	complete=no
	if [ $# -gt 0 ] && values=$(grep -H '' "$@" 2>/dev/null); then complete=yes; fi
	for line in $sysctls; do
		index=${line%% *} path=/proc/sys/${line#* }
		if [ ! -e "$path" ]; then
			answer "$index" ok absent
			continue
		fi
		if [ "$complete" = yes ]; then
			case $nl$values in
			*"$nl$path:"*)
				value=
				for line in $values; do
					case $line in
					"$path:"*) value=$value${value:+$nl}${line#"$path:"} ;;
					esac
				done
				answer "$index" ok "value$nl$value"
				continue
				;;
			esac
		fi
		if value=$(cat "$path" 2>&1); then
			answer "$index" ok "value$nl$value"
		else
			answer "$index" failed "$value"
		fi
	done
}

# ask_modules counts a module as present when it is loaded, built in, or when
# what it brings is there (in a container the module itself can't be seen).
ask_modules() {
	if [ -z "$modules" ]; then return; fi
	loaded= builtin= filesystems= looked=no
	for line in $modules; do
		index=${line%% *} name=${line#* }
		if [ -d "/sys/module/$name" ]; then
			answer "$index" ok loaded
			continue
		fi
		if [ "$looked" = no ]; then
			looked=yes
			loaded=$nl$(cat /proc/modules 2>/dev/null)
			builtin=$(cat "/lib/modules/$(uname -r)/modules.builtin" 2>/dev/null | tr - _)$nl
			filesystems=$(cat /proc/filesystems 2>/dev/null)$nl
		fi
		effect=
		case $name in # with a known effect, its lack says as much as a list
		br_netfilter) effect=/proc/sys/net/bridge/bridge-nf-call-iptables ;;
		nf_conntrack) effect=/proc/sys/net/netfilter/nf_conntrack_max ;;
		ip_vs) effect=/proc/net/ip_vs ;;
		tun) effect=/dev/net/tun ;;
		esac
		case $loaded in *"$nl$name "*) answer "$index" ok loaded && continue ;; esac
		case $builtin in *"/$name.ko$nl"*) answer "$index" ok 'built in' && continue ;; esac
		case $filesystems in *"	$name$nl"*) answer "$index" ok 'in effect' && continue ;; esac
		if [ -n "$effect" ] && [ -e "$effect" ]; then
			answer "$index" ok 'in effect'
		elif grep -q -s -E "/$(printf %s "$name" | sed 's/_/[_-]/g')[.]ko([.][a-z0-9]+)?:" "/lib/modules/$(uname -r)/modules.dep"; then
			answer "$index" ok loadable
		elif [ -z "$effect$builtin" ]; then
			answer "$index" ok unlisted
		else
			answer "$index" ok absent
		fi
	done
}

# systemctl_show asks systemd, which may hang as anything else on a host.
systemctl_show() { timeout -k 5 20 systemctl show --no-pager "$@"; }

ask_units() {
	if [ -z "$units" ]; then return; fi
	if ! has systemctl; then
		answer units ok absent
		return
	fi
	capture_out=
	capture units systemctl_show -p LoadState -p ActiveState -p SubState -p UnitFileState \
		-p NeedDaemonReload -p MainPID -p ExecMainStartTimestampMonotonic \
		-p NRestarts -p Result -p ExecMainCode -p ExecMainStatus -p InvocationID -- $units
	unit_logs "$capture_out"
}

# unit_logs SHOWN answers with the end of the log of each unit that failed, is
# being started or stopped, or was started again of late. Others cost nothing.
unit_logs() {
	rest=$1$nl$nl
	number=-1
	for unit in $units; do
		number=$((number + 1))
		block=$nl${rest%%"$nl$nl"*}$nl
		rest=${rest#*"$nl$nl"}
		property ActiveState
		# What went before the last run is another story; only of a unit that runs
		# again is it the one to be told.
		state_now=$value
		case $value in
		failed | activating | deactivating) ;;
		active | reloading)
			property NRestarts
			case $value in '' | 0 | 1 | *[!0-9]*) continue ;; esac
			property ExecMainStartTimestampMonotonic
			case $value in '' | *[!0-9]*) continue ;; esac
			if [ $((now - value / 10000)) -gt "$young" ]; then continue; fi
			;;
		*) continue ;;
		esac
		property SubState
		case $state_now/$value in
		failed/* | */auto-restart*)
			property InvocationID
			journal "$unit" 40 '' "$value"
			;;
		# It has begun another run: the last words of the one before.
		*) journal "$unit" 8 ;;
		esac
		answer "log.$number" ok "$out"
	done
}

# property NAME sets value to that of a property of the block.
property() {
	value=
	case $block in
	*"$nl$1="*)
		value=${block#*"$nl$1="}
		value=${value%%"$nl"*}
		;;
	esac
}

# journal UNIT LINES [PATTERN [INVOCATION]] sets out to the end of a unit's log, or
# of that of one of its runs, or to those of its lines that match, as far as they
# come in time. A journal that did not answer is not asked again.
journal_answers=yes
journal() {
	out=
	if [ "$journal_answers" = no ] || ! has journalctl; then return; fi
	case ${4-} in
	'' | *[!0-9a-f]*) set -- "$2" "${3-}" -u "$1" ;;
	# Of its processes, or by systemd about it.
	*) set -- "$2" "${3-}" "_SYSTEMD_INVOCATION_ID=$4" + "INVOCATION_ID=$4" ;;
	esac
	journal_lines=$1 journal_pattern=$2
	shift 2
	out=$(
		{
			timeout 5 journalctl --no-pager -q -o cat -n "$journal_lines" "$@" 2>/dev/null
			echo "status $?"
		} | tr -d '\000' | grep -e "$journal_pattern" -e '^status [0-9]*$' | tail -c 16384
	)
	case $out in *'status 124') journal_answers=no ;; esac
	out=${out%status *}
}

# ask_pods learns of static pods without the API and without the runtime, which
# may both be what is broken. The kubelet keeps the logs of a pod's container in
# NAMESPACE_NAME-NODE_UID/CONTAINER/RESTARTS.log; a static pod's UID is a digest
# of its manifest, without dashes. Processes are known by their cgroup, that is
# named for the UID. The answer is "pod UID RESTARTS PID TICKS", each - for none,
# and the end of the log where the pod does not run; where it does not run for
# long, the first line and the end of that of the container before it.
ask_pods() {
	if [ -z "$pods" ]; then return; fi
	uids=
	for line in $pods; do
		pod_files "$line"
		for path in $files_found; do
			pod_uid "$path"
			case "|$uids|" in *"|$uid|"*) ;; *) uids=$uids${uids:+|}$uid ;; esac
		done
	done
	members= stats=
	if [ -n "$uids" ]; then
		members=$(cd "$processes" && set +f && grep -s -o -H -E "pod($uids)" [0-9]*/cgroup)
		set --
		for line in $members; do set -- "$@" "$processes/${line%%/*}/stat"; done
		if [ $# -gt 0 ]; then stats=$(cat "$@" 2>/dev/null); fi
	fi
	for line in $pods; do
		pod_files "$line"
		pod_answer "$line"
	done
}

# pod_files INDEX NAMESPACE NAME NODE sets files_found to the directories and logs
# of a static pod, the newest first.
pod_files() {
	IFS=' '
	set -- $1
	IFS=$nl
	files_found=$(
		set +f
		ls -1dt "$pod_logs/$2_$3-$4_"???????????????????????????????? "$pod_logs/$2_$3-$4_"????????????????????????????????/*/*.log 2>/dev/null
	)
}

# pod_uid PATH sets uid.
pod_uid() {
	uid=${1#"$pod_logs/"}
	uid=${uid%%/*}
	uid=${uid##*_}
}

pod_answer() {
	index=${1%% *}
	# The newest pod that has a process, or else the newest.
	newest= pod= pid=- started=-
	for path in $files_found; do
		pod_uid "$path"
		if [ "$uid" = "$newest" ]; then continue; fi
		if [ -z "$newest" ]; then newest=$uid; fi
		pod_process "$uid"
		if [ "$pid" != - ]; then
			pod=$uid
			break
		fi
	done
	if [ -z "$newest" ]; then
		pod_words "$1"
		answer "$index" ok "pod - - - -$nl$nl$out"
		return
	fi
	pod=${pod:-$newest}
	log= attempt=-
	for path in $files_found; do
		case $path in
		*"_$pod/"*.log)
			log=$path
			attempt=${path##*/}
			attempt=${attempt%.log}
			break
			;;
		esac
	done
	case $attempt in '' | *[!0-9]*) attempt=- ;; esac
	out= first=
	if [ "$pid" = - ]; then
		if [ -n "$log" ] && [ ! -s "$log" ]; then log_before; fi # it has not said a word yet
		if [ -n "$log" ]; then
			log_end "$log"
		else
			pod_words "$1"
		fi
	elif [ "$attempt" != - ] && [ "$attempt" -gt 0 ] && [ $((now - started)) -le "$young" ]; then
		# What the one before it said is why there is another.
		if log_before; then log_first "$log"; fi
		log_end "$log"
	fi
	answer "$index" ok "pod $pod $attempt $pid $started$nl$first$nl$out"
}

# pod_process UID sets pid and started to those of the pod's first process: that
# of its container. The sandbox's own, and what starts containers, don't count.
pod_process() {
	for stat in $stats; do
		case $stat in *'(pause) '* | *'(runc'* | *'(conmon) '* | *') Z '*) continue ;; esac
		case "$nl$members$nl" in *"$nl${stat%% *}/cgroup:pod$1$nl"*) ;; *) continue ;; esac
		start_of "$stat"
		if [ "$pid" = - ] || [ "$ticks" -lt "$started" ]; then pid=${stat%% *} started=$ticks; fi
	done
}

# log_before has log name that of the container before, if there is one.
log_before() {
	case $attempt in - | 0) return 1 ;; esac
	if [ ! -e "${log%/*}/$((attempt - 1)).log" ]; then return 1; fi
	log=${log%/*}/$((attempt - 1)).log
}

# log_first FILE sets first to its first line, which says when it began.
log_first() { first=$(head -c 4096 "$1" 2>/dev/null | head -n 1 | tr -d '\000'); }

log_end() { out=$(tail -c 16384 "$1" 2>/dev/null | tail -n 15 | tr -d '\000'); }

# pod_words INDEX NAMESPACE NAME NODE sets out to what the kubelet says of a pod
# that has no log of its own: a manifest it can't read, an image that is missing.
pod_words() {
	out=
	if [ ! -d "$pod_logs" ]; then return; fi # no kubelet was here yet
	name=${1#* * }
	name=${name%% *}
	journal kubelet.service 300 "$name"
}

# ask_packages: dpkg-query's status is 1 when some package is unknown to it.
ask_packages() {
	if [ -z "$packages" ]; then return; fi
	if ! has dpkg-query; then
		answer packages ok ''
		return
	fi
	out=$(dpkg-query -W -f '${Package} ${db:Status-Status} ${Version}\n' -- $packages 2>/dev/null)
	status=$?
	if [ "$status" -le 1 ]; then
		answer packages ok "$out"
	else
		answer packages failed "dpkg-query: exit status $status: $(dpkg-query -W -f '' -- $packages 2>&1)"
	fi
}

# route_table INDEX METRIC WANTED ROUTE... answers with all routes of a metric,
# unless they are, together with those given, what the digest is of. Without
# IPv6 there are none of that family.
route_table() {
	index=$1 metric=$2 want=$3
	shift 3
	if ! four=$(ip -o -4 route show table main metric "$metric" 2>&1); then
		answer "$index" failed "ip route: $four"
		return
	fi
	six=$(ip -o -6 route show table main metric "$metric" 2>/dev/null) || six=
	sum=$(
		{
			printf '%s\n' "$four" "$six" | sed -n 's/^\([^ ]*\) via \([^ ]*\).*/\1 via \2/p'
			for line; do printf '%s\n' "$line"; done
		} | sort | sha256sum
	)
	if [ "${sum%% *}" = "$want" ]; then
		answer "$index" ok wanted
	else
		answer "$index" ok "found$nl$four${four:+$nl}--$nl$six"
	fi
}

# firewall INDEX PROGRAM TABLE CHAIN RULE...
firewall() {
	index=$1 program=$2 table=$3 chain=$4
	shift 4
	if ! has "$program"; then
		answer "$index" ok absent
		return
	fi
	message=$("$program" -w 5 -t "$table" -C "$chain" "$@" 2>&1)
	status=$?
	case $status in
	0) answer "$index" ok present ;;
	1) answer "$index" ok absent ;;
	*)
		# A rule that uses a chain, set or target which is not there is not there.
		case $status$message in
		2*[Cc]hain*'does not exist'* | 2*'No such file or directory'* | 2*'No chain/target/match by that name'*)
			answer "$index" ok absent ;;
		*) answer "$index" failed "exit status $status: $message" ;;
		esac
		;;
	esac
}

# ask_switches: a switch that Open vSwitch can't tell of now is none.
ask_switches() {
	for line in $switches; do
		index=${line%% *} path=${line##* }
		bridge=${line#* }
		bridge=${bridge%% *}
		if ! has ovs-vsctl || ! out=$(timeout 10 ovs-vsctl -t 5 get bridge "$bridge" datapath_type fail_mode 2>/dev/null) ||
			! ports=$(timeout 10 ovs-vsctl -t 5 list-ports "$bridge" 2>/dev/null) ||
			! ports=$(timeout 10 ovs-vsctl -t 5 -f json --columns=name,type,options,error list interface $ports 2>/dev/null); then
			answer "$index" ok absent
			continue
		fi
		flows=
		if [ "$path" != - ] && [ -e "$path" ]; then
			flows=$(timeout 10 ovs-ofctl -t 5 -O OpenFlow14 --names diff-flows "$bridge" "$path" 2>&1)
			status=$?
			case $status in
			0 | 2) ;;
			*) flows="unreadable: exit status $status: $flows" ;;
			esac
		fi
		answer "$index" ok "switch$nl$out$nl$ports$nl$flows"
	done
}

# ask_images: a containerd that is not there, or does not answer in time, is
# told apart from one that has no images.
ask_images() {
	if [ "$images" = 0 ]; then return; fi
	if [ -S /run/containerd/containerd.sock ] && has ctr &&
		out=$(timeout 5 ctr -n k8s.io images ls 2>/dev/null); then
		answer images ok "observable$nl$out"
	else
		answer images ok unobservable
	fi
}

# ask_docker_images asks one by one: Docker knows best by which names it goes.
ask_docker_images() {
	observable=yes
	for line in $docker_images; do
		index=${line%% *} reference=${line#* } out=
		if [ "$observable" = no ]; then
			answer "$index" ok unobservable
		elif has docker && out=$(timeout 10 docker image inspect --format '{{.Id}}' -- "$reference" 2>&1); then
			answer "$index" ok "$out"
		else
			case $out in
			*'No such image'*) answer "$index" ok absent ;;
			*)
				observable=no
				answer "$index" ok unobservable
				;;
			esac
		fi
	done
}

# ask_etcd_data sends the beginning of the newest part of a write-ahead log.
# Nothing, if there is no part; that the directory can't be read is not that.
ask_etcd_data() {
	for line in $etcd_data; do
		index=${line%% *} path=${line#* }
		if ! parts=$(ls -1r -- "$path" 2>&1); then
			if absent=$(why_absent "$path"); then
				answer "$index" ok ''
			else
				answer "$index" failed "$absent"
			fi
			continue
		fi
		found='' head=
		for part in $parts; do
			case $part in *.wal) ;; *) continue ;; esac
			found=$part
			if head=$(head -c 512 "$path/$part" 2>/dev/null | base64) && [ -n "$head" ]; then break; fi
		done
		if [ -n "$found" ] && [ -z "$head" ]; then
			answer "$index" failed "$path/$found can't be read, or is empty"
		else
			answer "$index" ok "$head"
		fi
	done
}

# ask_certificates sends the certificates in files that may hold their keys, too:
# a key is never printed, not even from a file that lacks the end of a certificate.
ask_certificates() {
	for line in $certificates; do
		ask_certificate "${line%% *}" "${line#* }"
	done
}

# ask_certificate INDEX PATH [again]
ask_certificate() {
	form=file
	if [ -L "$2" ]; then form=link; fi
	if [ ! -e "$2" ]; then
		if absent=$(why_absent "$2"); then
			answer "$1" ok absent
		elif [ "$form" = link ]; then
			answer "$1" ok dangling
		elif [ $# -lt 3 ] && [ -e "$2" ]; then
			ask_certificate "$1" "$2" again # a kubelet has just written it
		else
			answer "$1" failed "$absent"
		fi
	elif out=$(sed -n '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/{/PRIVATE KEY/q
p
}' "$2" 2>&1 | head -c 65536); then
		answer "$1" ok "$form$nl$out"
	else
		answer "$1" failed "$out"
	fi
}

# ask_wire asks other machines, all at a time: it takes as long as the slowest.
# Each answer is a line of "path INDEX RESULT", "neighbor INDEX MAC" (or "-") or
# "duplicate MAC".
ask_wire() {
	answer wire ok "$(
		for line in $neighbors; do
			neighbor "${line%% *}" "${line#* }" &
		done
		for line in $paths; do
			rest=${line#* }
			path "${line%% *}" "${rest%% *}" "${rest#* }" &
		done
		duplicate &
		wait
	)"
}

# whole_ping ADDRESS SIZE COUNT sends packets that nobody may divide. The size
# is that of the IP packet. Programs that don't know -M fail for every size.
whole_ping() {
	case $1 in
	*:*) headers=48 ;;
	*) headers=28 ;;
	esac
	ping -n -q -M do -c "$3" -i 0.2 -W 1 -s $(($2 - headers)) "$1" >/dev/null 2>&1
}

# path INDEX SIZE ADDRESS: a large packet may be lost by chance, and is sent anew.
path() {
	if ! has ping; then
		echo "path $1 unknown"
	elif whole_ping "$3" "$2" 1; then
		echo "path $1 fits"
	elif ! whole_ping "$3" 576 1; then
		echo "path $1 silent"
	elif whole_ping "$3" "$2" 3; then
		echo "path $1 fits"
	else
		largest=0
		for size in $(
			for size in 8950 1500 1492 1480 1460 1450 1440 1420 1400 1380 1350 1300 1280; do
				if [ "$size" -lt "$2" ]; then whole_ping "$3" "$size" 1 && echo "$size" & fi
			done
			wait
		); do
			if [ "$size" -gt "$largest" ]; then largest=$size; fi
		done
		echo "path $1 small $largest"
	fi
}

# neighbor INDEX ADDRESS: which machine of a link has an address. To send it
# anything makes the kernel ask; who lets no ping through still says where it is.
# What the kernel remembers of somebody who may have left by now does not count.
neighbor() {
	mac=-
	if has ping && [ -z "$(ip -o addr show to "$2" 2>/dev/null)" ]; then
		ping -n -q -c 1 -W 1 "$2" >/dev/null 2>&1
		found=$(ip -o neigh show to "$2" nud reachable 2>/dev/null)
		case $found in
		*" lladdr "*)
			mac=${found#*" lladdr "}
			mac=${mac%% *}
			;;
		esac
	fi
	echo "neighbor $1 $mac"
}

# duplicate asks who else has this host's address (RFC 5227), before anything is
# installed here. Of the programs called arping, only that of iputils and
# BusyBox's print a line like this. Routers that answer for all addresses don't
# count, nor do the host's own interfaces.
duplicate() {
	if [ -e "$state_path" ] || ! has arping; then return; fi
	case $address in *:*) return ;; esac
	device=$(ip -o -4 addr show to "$address" 2>/dev/null)
	device=${device#*: }
	device=${device%% *}
	if [ -z "$device" ]; then return; fi
	reply=$(arping -D -I "$device" -c 1 -w 1 "$address" 2>/dev/null)
	case $reply in
	*"reply from $address ["*)
		mac=${reply#*"reply from $address ["}
		mac=$(echo "${mac%%]*}" | tr A-F a-f)
		case $(
			ip -o -4 neigh show dev "$device" 2>/dev/null
			ip -o link 2>/dev/null
		) in
		*"$mac"*) ;;
		*) echo "duplicate $mac" ;;
		esac
		;;
	esac
}

main() {
	host_time=$(date '+%s %N')
	read_clock
	printf 'BEGIN kinstall probe 1\n'
	host
	ask_files
	ask_sysctls
	ask_modules
	ask_units
	ask_pods
	ask_packages
	# Before anything is installed, routes may be in the way.
	if [ "$routes4" = 1 ] || [ ! -e "$state_path" ]; then
		capture routes4 ip -o -4 route show table main
	else
		answer routes4 ok ''
	fi
	if [ "$routes6" = 1 ]; then capture routes6 ip -o -6 route show table main; fi
	route_tables
	firewall_rules
	ask_switches
	ask_images
	ask_docker_images
	ask_etcd_data
	ask_certificates
	ask_wire
	printf 'END %d\n' "$count"
}
