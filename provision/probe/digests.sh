# record_digests FILE PATHS: PATHS has one path a line. A subshell, so that the
# script around it keeps its settings.
record_digests() (
	set -u -f
	LC_ALL=C TZ=UTC0
	export LC_ALL TZ
	nl='
'
	IFS=$nl
	file=$1 paths=$2 lines=
	umask 077
	mkdir -p "${file%/*}" || exit 1
	# Hashing takes long, and others wait for the lock: it comes first.
	for path in $paths; do
		# A file that changes while it is hashed is not recorded.
		before=$(stat -c '%i %s %y %z' "$path") || exit 1
		digest=$(sha256sum "$path") || exit 1
		digest=${digest#\\}
		digest=${digest%% *}
		echo "$digest  $path"
		if [ "$(stat -c '%i %s %y %z' "$path")" = "$before" ]; then
			lines="$lines$digest $before|$path$nl"
		fi
	done
	if command -v flock >/dev/null 2>&1; then
		exec 9>"$file.lock" || exit 1
		if ! flock -w 60 9; then
			echo "$file.lock: held for a minute" >&2
			exit 1
		fi
	fi
	kept=
	if [ -f "$file" ]; then
		for line in $(cat "$file"); do
			path=${line#*|}
			case $nl$paths$nl in *"$nl$path$nl"*) continue ;; esac
			if [ -f "$path" ]; then kept=$kept$line$nl; fi
		done
	fi
	if printf %s "$kept$lines" >"$file.new" && mv -f "$file.new" "$file"; then exit 0; fi
	rm -f "$file.new"
	exit 1
)
