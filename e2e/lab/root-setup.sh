# Runs once, by chroot, in a freshly bootstrapped root file system. OFFLINE names
# the packages to keep as files, REPOSITORY the folder to keep them in.
set -eu

# Packages that the machines must be able to install without a network, with all
# that they need beyond what is installed.
mkdir -p "$REPOSITORY"
apt-get -q update
# shellcheck disable=SC2086 # a list
apt-get -q -y --no-install-recommends --download-only \
	-o Dir::Cache::archives="$REPOSITORY" install $OFFLINE
rm -rf "$REPOSITORY/partial" "$REPOSITORY/lock"
cd "$REPOSITORY"
for deb in *.deb; do
	dpkg-deb --field "$deb"
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
		"$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >Packages
cd /

# The repository is the machines' only source.
rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo "deb [trusted=yes] file:$REPOSITORY ./" >/etc/apt/sources.list
apt-get -q update
apt-get -q clean

# An unprivileged user beside root, as cloud images have one. The password "*"
# matches none, and unlike "!" doesn't lock the account.
useradd --create-home --shell /bin/bash --no-user-group --password '*' operator
echo 'operator ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/operator
chmod 0440 /etc/sudoers.d/operator
install -d -m 0700 /root/.ssh
install -d -m 0700 -o operator -g users /home/operator/.ssh

# What makes a machine itself is given to each before its first boot.
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/hostname /etc/resolv.conf
systemctl --quiet enable lab-machine.service
