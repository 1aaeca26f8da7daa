# SPDX-License-Identifier: Apache-2.0
# Installing packages on this machine. Sourced after common.sh, apt.sh, packages.sh.

# missing_packages GROUP...: what of the groups is not installed, or too old to serve.
missing_packages() {
	local group package names=''
	for group; do names+=" $(group_packages "$group")" || exit $?; done
	for package in $(tr ' ' '\n' <<<"$names" | sort -u); do
		usable "$package" || echo "$package"
	done
}

# usable PACKAGE: installed, and QEMU new enough for RISC-V's AIA.
usable() {
	local found
	# Either of the two that cannot be installed side by side.
	[ "$1" != libcurl4-gnutls-dev ] || ! usable libcurl4-openssl-dev || return 0
	found=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null) || return 1
	[ "${found%% *}" = installed ] || return 1
	case $1 in
	qemu-system-*) dpkg --compare-versions "${found#* }" ge 1:9 ;;
	esac
}

# apt_install FLAG... PACKAGE...: apt-get install on the real machine with the private configuration.
apt_install() {
	LC_ALL=C apt-get -c "$APT_DIR/apt.conf" -o Dir::State::extended_states=/var/lib/apt/extended_states \
		-o DPkg::Lock::Timeout=600 -o DPkg::Options::=--force-unsafe-io --no-install-recommends install "$@"
}

# plan_install PACKAGE...: fills PLAN_COUNT, PLAN_NAMES, PLAN_FETCH (bytes), PLAN_DISK (text).
plan_install() {
	local text
	text=$(apt_install --assume-no "$@" 2>&1 || true)
	PLAN_DISK=$(sed -n 's/^After this operation, \(.*\) of additional disk space.*/\1/p' <<<"$text")
	text=$(apt_install --print-uris -qq "$@" 2>&1) || die "apt cannot install this: $(grep -m1 -A3 '^E:\|unmet' <<<"$text" | tr '\n' ' ')"
	# Each is a line: 'URL' NAME_VERSION_ARCH.deb SIZE HASH
	text=$(grep "^'" <<<"$text" || true)
	PLAN_FETCH=$(awk '{ s += $3 } END { printf "%d", s }' <<<"$text")
	PLAN_NAMES=$(awk '{ sub(/_.*/, "", $2); print $2 }' <<<"$text" | sort | tr '\n' ' ')
	PLAN_COUNT=$(wc -w <<<"$PLAN_NAMES")
}

installed_names() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort; }

# run_install PACKAGE...: installs, with a line of progress every few seconds, notes what was added.
run_install() {
	local before log=$PV_CACHE/setup.log pid ticks=0
	before=$(installed_names)
	export DEBIAN_FRONTEND=noninteractive
	export -f apt_install
	export APT_DIR
	as_root env DEBIAN_FRONTEND=noninteractive APT_DIR="$APT_DIR" \
		bash -c "$(declare -f apt_install); apt_install -y \"\$@\"" apt_install "$@" </dev/null >"$log" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		sleep 0.2
		ticks=$((ticks + 1))
		[ $((ticks % 25)) != 0 ] ||
			progress "installing: $(grep -c '^Setting up' "$log" || true) of $PLAN_COUNT set up, $(grep '^[A-Z][a-z]' "$log" | tail -n1 | cut -c1-60)"
	done
	wait $pid || die "installing failed: $(grep -m1 '^E:\|^dpkg: error' "$log" || tail -n1 "$log") (all of it: $log)"
	comm -13 <(echo "$before") <(installed_names) >>"$PV_CACHE/packages-added"
	rm -rf "$APT_DIR"/cache/archives/*.deb
	progress "installed $PLAN_COUNT packages"
}
