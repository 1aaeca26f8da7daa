# SPDX-License-Identifier: Apache-2.0
# The steps of tools/quickstart. Sourced after everything else.
#
# One pipeline for packages runs through the chips in order, since dpkg does one thing at a time; each
# chip has a pipeline of its own that meanwhile fetches its kernel and libraries, waits for its
# packages, builds, boots, and leaves its row in a file. The main process only shows what is there.

# Megabytes that each group's packages take on a fresh Debian 12, fetched and on disk, in the order in
# which quickstart installs them (what an earlier one brought is not counted again). Measured; only for
# the first screen, which must not wait for a package index. --dry-run asks apt.
group_estimate() {
	case $1 in
	build) echo "63 246" ;;
	cloud) echo "26 104" ;;
	crash) echo "1 15" ;;
	host-"$native") echo "21 112" ;;
	host-riscv64) echo "8 40" ;;
	host-*) echo "11 65" ;;
	cross-riscv64) echo "30 110" ;;
	cross-*) echo "39 152" ;;
	*) echo "0 0" ;;
	esac
}

# order_chips CHIP...: sets ORDER, this machine's own first.
order_chips() {
	local chip
	ORDER=()
	# shellcheck disable=SC2086
	[ $# -gt 0 ] || set -- $PV_CHIPS
	for chip in "$native" "$@"; do
		[[ " ${ORDER[*]-} " == *" $chip "* ]] || { [[ " $* " == *" $chip "* ]] && ORDER+=("$chip"); }
	done
	return 0
}

# chip_groups CHIP: the package groups that it takes, on top of those before it.
chip_groups() {
	if [ "$1" = "$native" ]; then echo "build cloud crash host-$1"; else echo "build cross-$1 host-$1"; fi
}

# chip_sets CHIP: the sets of packages that are fetched for it; share and ld-riscv64 are this machine's.
chip_sets() {
	if [ "$1" = "$native" ]; then echo "kernel busybox root"; else echo "sysroot kernel busybox root"; fi
}

# size_up: sets FETCH_MB and DISK_MB, what is missing by the tables here and in tools/lib/pins.
size_up() {
	local chip group set bytes=0 numbers seen=' '
	FETCH_MB=0 DISK_MB=0
	for chip in "${ORDER[@]}"; do
		for group in $(chip_groups "$chip"); do
			[[ $seen != *" $group "* ]] || continue
			seen+="$group "
			[ -n "$(missing_packages "$group")" ] || continue
			numbers=$(group_estimate "$group")
			FETCH_MB=$((FETCH_MB + ${numbers% *})) DISK_MB=$((DISK_MB + ${numbers#* }))
		done
		set_chip "$chip"
		# shellcheck disable=SC2046
		bytes=$((bytes + $(missing_bytes $(for set in $(chip_sets "$chip"); do set_packages "$set"; done))))
	done
	# A package list, when anything is to be installed at all.
	[ "$FETCH_MB" = 0 ] || FETCH_MB=$((FETCH_MB + 10))
	FETCH_MB=$((FETCH_MB + bytes / 1000000))
	DISK_MB=$((DISK_MB + bytes / 1000000 * 13 / 4))
}

# time_left SECONDS: for people.
time_left() {
	if [ "$1" -lt 90 ]; then echo "under $((($1 + 14) / 15 * 15)) seconds"; else echo "about $((($1 + 59) / 60)) minutes"; fi
}

first_screen() {
	local cpu cores memory disk seconds
	cpu=$(sed -n 's/^\(model name\|uarch\)[[:space:]]*: //p' /proc/cpuinfo | head -n1)
	cores=$(nproc)
	memory=$(awk '/^MemTotal/ { printf "%d", $2 / 1048576 + 0.5 }' /proc/meminfo)
	disk=$(df -BG --output=avail "$(dirname "$PV_TREE")" | tail -n1 | tr -dc 0-9)
	mapfile -t VERDICT < <(perl "$PV_TREE/tools/lib/kvm-hello.pl" 2>/dev/null || true)
	size_up
	# On two cores: what is installed and built, and 20 seconds a chip to boot; 10 MB/s.
	seconds=$((FETCH_MB / 10 + DISK_MB / 20 + ${#ORDER[@]} * 40 / cores + 10))
	say "polyvisor: one program, Debian guests on ${#ORDER[@]} chips: ${ORDER[*]}"
	say ""
	say "  this machine  $native, $cores × ${cpu:-unknown CPU}, $memory GB memory, $disk GB free"
	say "  /dev/kvm      ${VERDICT[0]:-later}: ${VERDICT[1]:-it shows when polyvisor is built}"
	say "  so            $(consequence)"
	say "  to fetch      about $FETCH_MB MB; on disk about $DISK_MB MB"
	say "  time left     $(time_left $seconds)"
	say ""
	[ "$disk" -gt $((DISK_MB / 1024 + 1)) ] || die "too little disk: $disk GB free, about $DISK_MB MB needed"
}

consequence() {
	case ${VERDICT[0]:-later} in
	linux) echo "$native guests run on this machine; hosts of the other chips are emulated, their times are virtual" ;;
	later) echo "this is decided when polyvisor is built; hosts of other chips are emulated, their times are virtual" ;;
	*) echo "this machine cannot run Linux guests: emulating hosts of every chip; their times are virtual" ;;
	esac
}

# dry_run_plan: what apt would do, chip by chip, and what else would be fetched.
dry_run_plan() {
	local groups chip set packages
	groups=$(for chip in "${ORDER[@]}"; do chip_groups "$chip"; done | tr ' ' '\n' | sort -u)
	# shellcheck disable=SC2086
	"$PV_TREE/tools/setup" --dry-run $groups
	for chip in "${ORDER[@]}"; do
		set_chip "$chip"
		packages=$(for set in $(chip_sets "$chip"); do set_packages "$set"; done)
		# shellcheck disable=SC2086
		say "unpacked into the cache for $chip, not installed: $(human_mb "$(missing_bytes $packages)") to fetch of Debian 13's"
		# shellcheck disable=SC2086
		say "  $(echo $packages | fold -sw 96 | sed '2,$s/^/  /')"
	done
	say "Nothing was changed. Everything fetched is kept below $PV_CACHE."
}

# --- pipelines; each is a process of its own, its log below WORK

start_pipelines() {
	local chip
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/quickstart.XXXXXX")
	trap 'rm -rf "$WORK"' EXIT
	export POLYVISOR_QUICKSTART=$PV_TREE
	(packages_pipeline) >"$WORK/packages.log" 2>&1 &
	for chip in "${ORDER[@]}"; do
		(yield_to_first "$chip" && chip_pipeline "$chip") >"$WORK/$chip.log" 2>&1 &
	done
}

# yield_to_first CHIP: the first chip's guest is what one waits for; the others work in what it leaves.
yield_to_first() { [ "$1" = "${ORDER[0]}" ] || renice -n 5 -p "$BASHPID" >/dev/null; }

stop_pipelines() {
	trap '' INT TERM HUP
	say ""
	say "$PV_TOOL: ending what was started; what is fetched stays"
	end_processes
}

# step CHIP TEXT: what a pipeline is doing now, for the progress line.
step() { echo "$2" >"$WORK/$1.step"; }

packages_pipeline() {
	local chip
	for chip in "${ORDER[@]}"; do
		yield_to_first "$chip"
		# shellcheck disable=SC2046
		if "$PV_TREE/tools/setup" $(chip_groups "$chip"); then
			touch "$WORK/$chip.packages"
		else
			touch "$WORK/$chip.nopackages"
		fi
	done
}

wait_packages() {
	while [ ! -e "$WORK/$1.packages" ]; do
		[ ! -e "$WORK/$1.nopackages" ] || fail "$1" "$(grep '^setup: ' "$WORK/packages.log" | tail -n1)"
		sleep 0.2
	done
}

# fail CHIP WHY: its row says so, the pipeline ends.
fail() {
	row "$1" - - - - - - - "FAILED: $2"
	exit 1
}

# row CHIP CPU HOW KERNEL MACHINE VCPUS MEMORY INIT STATE
row() {
	local chip=$1
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$@" >"$WORK/$chip.row.part"
	mv "$WORK/$chip.row.part" "$WORK/$chip.row"
}

chip_pipeline() {
	local chip=$1 set
	set_chip "$chip"
	step "$chip" "fetching Debian's kernel and libraries for $chip"
	for set in $(chip_sets "$chip"); do
		# shellcheck disable=SC2046
		fetch_set $(set_packages "$set") || fail "$chip" "cannot fetch Debian 13's packages"
	done
	step "$chip" "waiting for the packages that $chip takes"
	wait_packages "$chip"
	step "$chip" "building polyvisor for $chip"
	POLYVISOR_QUIET=1 "$PV_TREE/tools/build" "$chip" >"$WORK/$chip.build" 2>&1 ||
		fail "$chip" "the build: $(tail -n1 "$WORK/$chip.build")"
	[ "$chip" != "$native" ] || native_guest
	step "$chip" "making the $chip guest's disk"
	POLYVISOR_QUIET=1 "$PV_TREE/tools/image" "$chip" -o "$WORK/$chip.raw" || fail "$chip" "tools/image failed"
	step "$chip" "booting Debian on $chip"
	boot_guest "$chip"
}

# native_guest: this machine's own chip, once polyvisor is there: the verdict, and a bare-metal guest.
native_guest() {
	local verdict tests=$PV_TREE/build/$native/root/usr/share/polyvisor/guest-tests
	verdict=$("$PV_TREE/build/$native/polyvisor" --probe-kvm 2>/dev/null |
		sed -n 's/.*"verdict": *"\([a-z-]*\)".*/\1/p' || true)
	echo "${verdict:-none}" >"$WORK/verdict"
	case $verdict in bare-metal | linux) ;; *) return 0 ;; esac
	[ -e "$tests/timer" ] || return 0
	local from status=0
	from=$(date +%s%N)
	timeout 20 "$PV_TREE/build/$native/polyvisor" --kernel "$tests/timer" --memory size=64M --device test-exit \
		--serial file="$WORK/timer.out" --crash-report off </dev/null >/dev/null 2>&1 || status=$?
	if [ $status = 33 ]; then
		echo "a bare-metal guest ran on this machine's KVM: $(grep -m1 '^case' "$WORK/timer.out" 2>/dev/null | tr -d '\r'), $((($(date +%s%N) - from) / 1000000)) ms" >"$WORK/news"
	else
		echo "a bare-metal guest on this machine's KVM ended with status $status" >"$WORK/news"
	fi
}

# boot_guest CHIP: boots its disk, natively where that works, and leaves the row.
boot_guest() {
	local chip=$1 out=$WORK/$1.out how=emulated cpu line status=0 disk=$WORK/$1.raw
	local cmdline="console=ttyS0 quiet root=/dev/vda pv.exit=poweroff"
	local guest=(--cpus boot=2 --memory size=512M --serial tty) clock=(--smp 1 --icount)
	# Counting instructions as time, an emulated x86 host now and then loses a guest's timer.
	[ "$chip" != x86_64 ] || clock=(--smp 2)
	case $chip in
	x86_64) cpu="EPYC + SVM" ;;
	arm64) cpu="Cortex-A72 + EL2" ;;
	riscv64) cpu="rv64 + H + AIA" ;;
	esac
	if [ "$chip" = "$native" ] && [ "$(cat "$WORK/verdict" 2>/dev/null)" = linux ]; then
		how=native
		cpu=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n1)
		timeout 120 "$PV_TREE/build/$chip/polyvisor" --kernel "$disk.kernel" --initramfs "$disk.initramfs" \
			--disk path="$disk" --cmdline "$cmdline" "${guest[@]}" </dev/null >"$out" 2>&1 || status=$?
	else
		POLYVISOR_QUIET=1 "$PV_TREE/tools/chip-host" "$chip" "${clock[@]}" --memory 1536M --timeout 300 --image "$disk" -- \
			polyvisor --kernel /guest/kernel --initramfs /guest/initramfs --disk path=/dev/vda \
			--cmdline "$cmdline" "${guest[@]}" </dev/null >"$out" 2>&1 || status=$?
	fi
	tr -d '\r' <"$out" >"$out.text"
	line=$(grep -m1 '^polyvisor: guest ready' "$out.text" || true)
	if [ -z "$line" ]; then
		cp "$out.text" "$PV_CACHE/quickstart-$chip.log"
		fail "$chip" "no guest (status $status): $(grep . "$out.text" | tail -n1 | cut -c1-80) (all of it: $PV_CACHE/quickstart-$chip.log)"
	fi
	[ $status = 0 ] && status="ran, powered off" || status="ran, then status $status"
	row "$chip" "${cpu:-unknown}" $how "$(field kernel)" "$(cut -d' ' -f4 <<<"$line")" "$(field cpus)" "$(field memory)" "$(field init)" "$status"
}

# field NAME: out of the ready line in $line.
field() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$line"; }

# --- what the main process shows

# print_row FIELD...: one line of the table; a failure takes the rest of its line.
print_row() {
	if [ "$2" = - ]; then
		printf '  %-8s %s\n' "$1" "$9"
	else
		printf '  %-8s %-22s %-9s %-28s %-8s %5s %8s %9s  %s\n' "${1:0:8}" "${2:0:22}" "$3" "${4:0:28}" "$5" "$6" "$7" "$8" "$9"
	fi
}

show_rows() {
	local left=("${ORDER[@]}") chip rest ticks=0 fields header=''
	FAILED=0
	while [ ${#left[@]} -gt 0 ]; do
		sleep 0.2
		ticks=$((ticks + 1))
		if [ -e "$WORK/news" ]; then
			say "  $(cat "$WORK/news")"
			rm "$WORK/news"
		fi
		rest=()
		for chip in "${left[@]}"; do
			if [ ! -e "$WORK/$chip.row" ]; then
				rest+=("$chip")
				continue
			fi
			[ -n "$header" ] || print_row chip "host CPU" host "guest kernel" "uname -m" vCPUs memory "init in" state
			header=1
			IFS=$'\t' read -ra fields <"$WORK/$chip.row"
			print_row "${fields[@]}"
			case ${fields[8]} in FAILED*) FAILED=$((FAILED + 1)) ;; esac
		done
		left=(${rest[@]+"${rest[@]}"})
		[ $((ticks % 25)) != 0 ] || [ ${#left[@]} = 0 ] || progress_line "${left[@]}"
	done
}

# progress_line CHIP...: what the first of the chips still missing is at, once every five seconds.
progress_line() {
	local text
	text=$(cat "$WORK/$1.step" 2>/dev/null || true)
	case $text in waiting*) text=$(tail -n1 "$WORK/packages.log" 2>/dev/null | sed 's/^setup: \[ *[0-9]*s\] //') ;; esac
	case $text in fetching*) text=$(tail -n1 "$WORK/$1.log" 2>/dev/null | sed 's/^quickstart: \[ *[0-9]*s\] //') ;; esac
	printf '  [%3ds] %s: %s\n' $SECONDS "$1" "${text:-starting}" >&2
}

finish() {
	wait
	say ""
	if [ "$FAILED" -gt 0 ]; then
		die "$FAILED of ${#ORDER[@]} chips failed"
	fi
	if grep -qs emulated "$WORK/x86_64.row"; then
		say "  x86_64's emulated host runs in real time: its \"init in\" depends on how busy this machine is."
	fi
	say "All ${#ORDER[@]} after $SECONDS seconds."
	[ -n "$no_cloud" ] || return 0
	say "Try next:"
	say "  tools/chip-host ${ORDER[-1]} --guest --tty -- polyvisor --kernel /guest/kernel --initramfs /guest/initramfs --cmdline console=ttyS0"
	say "  build/$native/polyvisor --help"
	say "  tools/quickstart --down"
}

# --- the cloud

cloud_runs() { [ -S "$PV_TREE/build/fleet/polycloud.sock" ] && "$PV_TREE/tools/fleet" status >/dev/null 2>&1; }

# cloud_stage: all chips as one cloud, which stays; an earlier run's is found as it is.
cloud_stage() {
	unlock quickstart # what runs on would hold it
	say ""
	say "Now as one cloud: a control plane, and a host of each chip that joins it."
	[ -x "$PV_TREE/build/cloud/polycloud" ] || POLYVISOR_QUIET=1 "$PV_TREE/tools/build" cloud >/dev/null ||
		die "tools/build cloud failed"
	"$PV_TREE/tools/fleet" demo "${ORDER[@]}" || die "tools/fleet demo failed; its logs are in build/fleet"
	say "It runs on. tools/quickstart --down ends it."
}
