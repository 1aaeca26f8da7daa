# SPDX-License-Identifier: Apache-2.0
# Fetching trixie's packages for any architecture. Sourced after common.sh, apt.sh, packages.sh.
#
# tools/lib/pins names for each package one version with its size and SHA256, so that everybody
# builds from the same bytes and nobody downloads three package indexes to learn 20 names. Debian
# drops a version from its mirrors some time after the next point release; then, and for a package
# without a pin, the whole set is looked up in Debian's signed index instead.
# Either way the archive is checked against a SHA256 before it gets its place in the cache.

PV_PINS=$PV_TREE/tools/lib/pins

# One package is a line: DEB_ARCH NAME SIZE SHA256 POOL-PATH. NAME is what was asked for: for a
# kernel's meta package the rest of the line describes the kernel itself.

# pinned DEB_ARCH NAME...: their lines, or 1 if one has none.
pinned() {
	local arch=$1 name line
	shift
	for name; do
		line=$(grep -m1 "^$arch $name " "$PV_PINS" 2>/dev/null) || return 1
		echo "$line"
	done
}

# indexed DEB_ARCH NAME...: the same out of Debian's signed index.
indexed() {
	local arch=$1 name real
	shift
	apt_foreign "$arch"
	(PV_LOCKS=() && lock "apt-$arch" && apt_update 7) ||
		die "cannot get trixie's package list for $arch from $PV_MIRROR: $(tail -n1 "$APT_DIR/update.log")"
	for name; do
		real=$name
		case $name in linux-image-*)
			real=$(apt-cache -c "$APT_DIR/apt.conf" depends --important "$name" 2>/dev/null |
				awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
			;;
		esac
		apt-cache -c "$APT_DIR/apt.conf" show --no-all-versions "${real:-$name}" 2>/dev/null |
			pin_lines "$arch" "$name" "${real:-$name}" | grep . ||
			die "Debian 13 has no package $name for $arch"
	done
}

# pin_lines DEB_ARCH NAME PACKAGE <Packages: the line for PACKAGE.
pin_lines() {
	awk -v arch="$1" -v name="$2" -v package="$3" '
		$1 == "Package:" { hit = $2 == package }
		$1 == "Size:" { size = $2 }
		$1 == "SHA256:" { sha = $2 }
		$1 == "Filename:" { path = $2 }
		/^$/ { show() }
		END { show() }
		function show() {
			if (hit && path && sha) print arch, name, size, sha, path
			hit = 0; path = sha = ""
		}'
}

# deb_path LINE: where that package's archive is, or will be, in the cache.
deb_path() {
	# shellcheck disable=SC2086
	set -- $1
	echo "$PV_CACHE/debs/${5##*/}"
}

# have LINE: the cache has that archive whole. Archives get there verified; a size that is wrong all the
# same is noticed here, and any other damage with PV_VERIFY set, which costs a second for a kernel.
have() {
	local path
	path=$(deb_path "$1")
	# shellcheck disable=SC2086
	set -- $1
	[ -e "$path" ] && [ "$(stat -c %s "$path")" = "$3" ] || return 1
	[ -z "${PV_VERIFY:-}" ] || echo "$4  $path" | sha256sum --status -c
}

# download LINE...: fetches those that the cache has not whole, all at once; 1 if one could not be had.
download() {
	local line args=() parts=() bytes=0 path
	mkdir -p "$PV_CACHE/debs"
	for line; do
		path=$(deb_path "$line")
		# shellcheck disable=SC2086
		set -- $line
		if [ -e "$path" ]; then
			! sha256sum --status -c <<<"$4  $path" || continue
			progress "${path##*/} in the cache is damaged: fetching it again"
			rm -f "$path"
		fi
		args+=("$PV_MIRROR/$5" "$path.part" "SHA256:$4")
		parts+=("$path")
		bytes=$((bytes + $3))
	done
	[ ${#parts[@]} -gt 0 ] || return 0
	progress "fetching ${#parts[@]} packages for $CHIP, $(human_mb $bytes)"
	rm -f "${parts[@]/%/.part}"
	/usr/lib/apt/apt-helper -o Acquire::Retries=3 -o "APT::Sandbox::User=$(id -un)" \
		download-file "${args[@]}" >"$PV_CACHE/debs/log.$$" 2>&1 &
	watch_download $! "$bytes" "${parts[@]/%/.part}" || {
		sed -n 's/^E: //p' "$PV_CACHE/debs/log.$$" | head -n 3 >&2
		rm -f "${parts[@]/%/.part}" "$PV_CACHE/debs/log.$$"
		return 1
	}
	rm -f "$PV_CACHE/debs/log.$$"
	for path in "${parts[@]}"; do mv "$path.part" "$path"; done
}

# watch_download PID BYTES FILE...: waits for PID, saying every few seconds how far it is.
watch_download() {
	local pid=$1 bytes=$2 ticks=0 have
	shift 2
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		ticks=$((ticks + 1))
		if [ $((ticks % 25)) = 0 ]; then
			have=$(du -cb "$@" 2>/dev/null | awk 'END { print $1 }')
			progress "fetched $(human_mb "${have:-0}") of $(human_mb "$bytes") for $CHIP"
		fi
	done
	wait "$pid"
}

# fetch_set NAME...: fills the array DEBS with the archives of these packages of set_chip's chip.
fetch_set() {
	local lines line
	DEBS=()
	lock "debs-$DEB_ARCH"
	if ! { lines=$(pinned "$DEB_ARCH" "$@") && mapfile -t lines <<<"$lines" && download "${lines[@]}"; }; then
		progress "not every pinned package is to be had: asking Debian's index"
		lines=$(indexed "$DEB_ARCH" "$@") || exit 1
		mapfile -t lines <<<"$lines"
		download "${lines[@]}" || die "cannot fetch these packages from $PV_MIRROR"
	fi
	unlock "debs-$DEB_ARCH"
	for line in "${lines[@]}"; do DEBS+=("$(deb_path "$line")"); done
}

# missing_bytes NAME...: how much fetch_set would download, from the pins; 0 where unknown.
missing_bytes() {
	local bytes=0 line
	while read -r line; do
		[ -z "$line" ] || have "$line" || bytes=$((bytes + $(cut -d' ' -f3 <<<"$line")))
	done <<<"$(pinned "$DEB_ARCH" "$@")"
	echo "$bytes"
}

# native_tools SET: unpacks a set of trixie's packages for this machine's own chip and sets
# TOOLS_DIR and the array TOOLS_RUN, the words to put before a program of it. It brings its own C
# library, so that Debian 13's programs run on Debian 12; nothing is installed.
native_tools() {
	local deb chip=$CHIP set=$1 loader
	set_chip "$(native_chip)"
	# shellcheck disable=SC2046
	fetch_set $(set_packages "$set")
	TOOLS_DIR=$PV_CACHE/tools/$set-$(fingerprint "${DEBS[@]}")
	if [ ! -d "$TOOLS_DIR" ]; then
		rm -rf "$TOOLS_DIR.part"
		mkdir -p "$TOOLS_DIR.part"
		for deb in "${DEBS[@]}"; do dpkg-deb -x "$deb" "$TOOLS_DIR.part"; done
		mv "$TOOLS_DIR.part" "$TOOLS_DIR"
	fi
	loader=$(echo "$TOOLS_DIR"/usr/lib*/ld-linux-*)
	[ -e "$loader" ] || die "no loader in $TOOLS_DIR"
	TOOLS_RUN=("$loader" --library-path "$TOOLS_DIR/usr/lib/$TRIPLET")
	set_chip "$chip"
}
