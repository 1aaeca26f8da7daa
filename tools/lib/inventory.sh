# SPDX-License-Identifier: Apache-2.0
# What a machine was like before quickstart, and bringing it back. Sourced after common.sh.
#
# Every process that quickstart starts carries POLYVISOR_QUICKSTART in its environment, whatever
# becomes of its parents, so they are found exactly and nobody else's is ended.

PV_INVENTORY=$PV_CACHE/inventory

inventory_taps() { (cd /sys/class/net && ls -d -- * 2>/dev/null) | sort; }
inventory_mounts() { cut -d' ' -f2 /proc/mounts | sort; }
inventory_sources() { find /etc/apt -type f -exec sha256sum {} + 2>/dev/null | sort; }

# inventory_take: once, before the first change; a later run keeps the first one's.
inventory_take() {
	[ ! -d "$PV_INVENTORY" ] || return 0
	rm -rf "$PV_INVENTORY.part"
	mkdir -p "$PV_INVENTORY.part"
	inventory_taps >"$PV_INVENTORY.part/taps"
	inventory_mounts >"$PV_INVENTORY.part/mounts"
	inventory_sources >"$PV_INVENTORY.part/sources"
	mv "$PV_INVENTORY.part" "$PV_INVENTORY"
}

# our_processes: their ids, this process and what it started just now left out.
our_processes() {
	local file pid
	for file in /proc/[0-9]*/environ; do
		pid=${file#/proc/}
		pid=${pid%/environ}
		[ "$pid" != $$ ] || continue
		if tr '\0' '\n' <"$file" 2>/dev/null | grep -q "^POLYVISOR_QUICKSTART=$PV_TREE$"; then echo "$pid"; fi
	done 2>/dev/null
}

# end_processes: asks them to end, then insists.
end_processes() {
	local pids tries=0
	pids=$(our_processes)
	ENDED=$(wc -w <<<"$pids")
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill $pids 2>/dev/null || true
	while [ -n "$(our_processes)" ] && [ $tries -lt 50 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	# shellcheck disable=SC2046
	kill -9 $(our_processes) 2>/dev/null || true
}

inventory_restore() {
	local name path gone=0 added
	say "polyvisor quickstart --down"
	end_processes
	say "  processes    $ENDED ended"
	if [ ! -d "$PV_INVENTORY" ]; then
		say "  quickstart has not run here since the last --down"
		return 0
	fi
	for path in $(inventory_mounts | comm -13 "$PV_INVENTORY/mounts" - | grep "^\($PV_CACHE\|$PV_TREE\|/tmp/chip-host\)" | sort -r); do
		as_root umount "$path" && gone=$((gone + 1))
	done
	say "  mounts       $gone removed"
	gone=0
	for name in $(inventory_taps | comm -13 "$PV_INVENTORY/taps" - | grep '^pv'); do
		as_root ip link delete "$name" && gone=$((gone + 1))
	done
	say "  taps         $gone removed"
	if inventory_sources | cmp -s - "$PV_INVENTORY/sources"; then
		say "  apt sources  as they were"
	else
		say "  apt sources  changed since, but not by polyvisor, which never writes in /etc/apt:"
		inventory_sources | diff "$PV_INVENTORY/sources" - | sed -n 's/^[<>] [0-9a-f]*  /    /p' | sort -u >&2
	fi
	rm -rf "$PV_INVENTORY"
	added=$({ sort -u "$PV_CACHE/packages-added" 2>/dev/null || true; } | comm -12 - <(installed_names) | tr '\n' ' ')
	if [ -z "${added// /}" ]; then
		say "  packages     none added"
	else
		say "  packages     $(wc -w <<<"$added") were added and stay; to remove them:"
		say "$(fold -sw 92 <<<"    apt-get purge $added" | sed '2,$s/^/      /; s/ *$/ \\/; $s/ \\$//')"
	fi
	say "  cache        $(du -sm "$PV_CACHE" 2>/dev/null | cut -f1) MB in $PV_CACHE stay; --down --purge removes them"
}
