if command -v ip >/dev/null; then network "$session/network"; fi
printf '%s' "$revert" >"$session/revert.sh"
chmod 0700 -- "$session/revert.sh"
read -r up rest </proc/uptime
echo "$((${up%%.*} + timeout))" >"$session/until"
# After a reboot the timer is gone, and the files are not.
(
	umask 022
	mkdir -p -- "${wants%/*}"
	cat >"$boot" <<END
# Written by kinstall for as long as a change is not confirmed.
[Unit]
Description=Put back what kinstall changed and did not confirm
DefaultDependencies=no
RequiresMountsFor=$base
After=local-fs.target
Before=systemd-sysctl.service sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/bin/sh $session/revert.sh boot
END
	ln -sf -- "$boot" "$wants"
)
: >"$session/armed"
sync -- "$session"/* "$session"/*/* "$boot"
if ! systemd-run --quiet --collect --unit="$name" --description="Put back what kinstall changed, unless it confirms" \
	--on-active="${timeout}s" --timer-property=AccuracySec=100ms /bin/sh "$session/revert.sh" >&2; then
	echo "systemd-run failed, so the host could not put the change back by itself" >&2
	exit 1
fi
trap - EXIT
