# record_digests FILE PATHS: PATHS has one path a line. A subshell, so that the
# script around it keeps its settings.
record_digests() (
	set -u -f
	LC_ALL=C TZ=UTC0
	export LC_ALL TZ
	nl='
'
	IFS=$nl
	file=$1 paths=$2
	umask 077
	mkdir -p "${file%/*}" || exit 1
	if command -v flock >/dev/null 2>&1; then
		exec 9>"$file.lock" || exit 1
		flock -w 10 9 || exit 1
	fi
	kept=
	if [ -f "$file" ]; then
		for line in $(cat "$file"); do
			path=${line#*|}
			case $nl$paths$nl in *"$nl$path$nl"*) continue ;; esac
			if [ -f "$path" ]; then kept=$kept$line$nl; fi
		done
	fi
	for path in $paths; do
		# A file that changes while it is hashed is not recorded.
		before=$(stat -c '%i %s %y %z' "$path") || exit 1
		digest=$(sha256sum "$path") || exit 1
		digest=${digest#\\}
		if [ "$(stat -c '%i %s %y %z' "$path")" = "$before" ]; then
			kept="$kept${digest%% *} $before|$path$nl"
		fi
	done
	if printf %s "$kept" >"$file.new" && mv -f "$file.new" "$file"; then exit 0; fi
	rm -f "$file.new"
	exit 1
)
