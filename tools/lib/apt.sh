# SPDX-License-Identifier: Apache-2.0
# Private uses of apt. Sourced after common.sh.
#
# /etc/apt is never touched: every call names its own sources, preferences, package lists and
# archives below the cache. The machine's apt.conf.d is still read, because that is where a proxy is
# set; hooks in it are cleared. Archives are verified by apt against Debian's signed index, with the
# keys of debian-archive-keyring.
#
# Two kinds of configuration:
#   apt_foreign DEB_ARCH  trixie's packages of any architecture, on an empty dpkg status: nothing is
#                         installed from it, packages are only looked up and fetched.
#   apt_native            this machine's own release with its backports, on the real dpkg status:
#                         tools/setup installs with it.

PV_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# apt_conf DIR ARCH STATUS: writes DIR/apt.conf for private lists; an empty ARCH is this machine's.
apt_conf() {
	mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
	{
		cat <<-END
			Dir::Etc::sourcelist "$1/sources.list";
			Dir::Etc::sourceparts "/dev/null";
			Dir::Etc::preferences "$1/preferences";
			Dir::Etc::preferencesparts "/dev/null";
			Dir::State::lists "$1/lists";
			Dir::State::status "$3";
			Dir::Cache "$1/cache";
			Dir::Cache::archives "$1/cache/archives";
			Dir::Cache::pkgcache "pkgcache.bin";
			Dir::Cache::srcpkgcache "";
			APT::Sandbox::User "$(id -un)";
			Acquire::Languages "none";
			Acquire::Retries "3";
			#clear APT::Update::Post-Invoke;
			#clear APT::Update::Post-Invoke-Success;
		END
		[ -z "$2" ] || cat <<-END
			APT::Architecture "$2";
			#clear APT::Architectures;
			APT::Architectures { "$2"; };
		END
	} >"$1/apt.conf"
	[ -e "$1/preferences" ] || : >"$1/preferences"
}

# apt_foreign DEB_ARCH: sets APT_DIR to a ready configuration for trixie's packages of DEB_ARCH.
apt_foreign() {
	APT_DIR=$PV_CACHE/apt/trixie-$1
	mkdir -p "$APT_DIR"
	: >"$APT_DIR/status"
	echo "deb [signed-by=$PV_KEYRING] $PV_MIRROR trixie main" >"$APT_DIR/sources.list"
	apt_conf "$APT_DIR" "$1" "$APT_DIR/status"
}

# apt_native: the same for this machine's release, with backports only for QEMU and its parts.
apt_native() {
	local release
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
	case $release in
	bookworm | trixie) ;;
	*) die "this is not Debian 12 or 13 ($release): install by hand what tools/setup --list names" ;;
	esac
	APT_DIR=$PV_CACHE/apt/native-$release
	mkdir -p "$APT_DIR"
	{
		echo "deb [signed-by=$PV_KEYRING] $PV_MIRROR $release main"
		echo "deb [signed-by=$PV_KEYRING] $PV_MIRROR $release-updates main"
		echo "deb [signed-by=$PV_KEYRING] $PV_MIRROR-security $release-security main"
		[ "$release" = trixie ] ||
			echo "deb [signed-by=$PV_KEYRING] $PV_MIRROR $release-backports main"
	} >"$APT_DIR/sources.list"
	# 7.2 hangs with RISC-V's AIA; nothing else may come from backports.
	cat >"$APT_DIR/preferences" <<-END
		Package: qemu-system-* qemu-utils seabios ipxe-qemu opensbi
		Pin: release n=$release-backports
		Pin-Priority: 600
	END
	apt_conf "$APT_DIR" "" /var/lib/dpkg/status
}

# apt_update [MAX-AGE-DAYS]: fetches the lists of APT_DIR unless they are there (and younger).
apt_update() {
	local stamp=$APT_DIR/updated
	if cmp -s "$APT_DIR/sources.list" "$stamp" 2>/dev/null &&
		[ -z "$(find "$stamp" -mtime +"${1:-30}" 2>/dev/null)" ]; then
		return 0
	fi
	[ -e "$PV_KEYRING" ] || die "no $PV_KEYRING: install debian-archive-keyring"
	progress "fetching the package lists of ${APT_DIR##*/}"
	rm -f "$APT_DIR/cache/pkgcache.bin"
	apt-get -c "$APT_DIR/apt.conf" -qq -o APT::Update::Error-Mode=any update \
		>"$APT_DIR/update.log" 2>&1 || return 1
	cp "$APT_DIR/sources.list" "$stamp"
}

# as_root COMMAND...: this, or through sudo, or one line that says so.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "installing packages needs root: run this as root, or install sudo"
	fi
}
