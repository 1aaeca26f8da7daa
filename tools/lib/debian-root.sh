# SPDX-License-Identifier: Apache-2.0
# Programs of Debian 13 for an emulated host. Sourced after common.sh and packages.sh.

# debian_root FOLDER SET PROGRAM...: makes FOLDER anew, with those programs of a set of packages and the
# libraries that they run on.
debian_root() {
	local root=$1 set=$2 loader program
	shift 2
	rm -rf "$root.deb" "$root"
	# shellcheck disable=SC2046
	"$PV_TREE/tools/fetch" --unpack "$root.deb" "$CHIP" $(set_packages "$set") >/dev/null
	mkdir -p "$root/usr/bin" "$root/usr/lib/$TRIPLET"
	cp -a "$root.deb/usr/lib/$TRIPLET"/*.so* "$root/usr/lib/$TRIPLET"
	for program; do
		cp -a "$root.deb"/usr/*bin/$program "$root/usr/bin"
	done
	# the loader's name is part of the programs
	loader=$(grep -ao '/lib[0-9a-z]*/ld-linux[-_.0-9a-z]*' "$root/usr/bin/${1%\*}" | head -n1)
	mkdir -p "$root${loader%/*}"
	ln -s "/usr/lib/$TRIPLET/${loader##*/}" "$root$loader"
	rm -rf "$root.deb"
}
