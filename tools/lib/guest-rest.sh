# SPDX-License-Identifier: Apache-2.0
# Inside a chip host, after guest-suite.sh: a Debian guest that is driven over its REST socket alone.

export POLYVISOR_SOCKET=/tmp/api.sock
EVENTS=/tmp/events
FAILED=

# api FLAG...: starts polyvisor with its API; $API is its pid.
api() {
	rm -f $LOG $EVENTS
	polyvisor --api-socket path=$POLYVISOR_SOCKET --event-monitor path=$EVENTS \
		--crash-report /tmp/crash.json "$@" </dev/null &
	API=$!
	local i=0
	until polyctl vm ping >/dev/null 2>&1; do
		[ $i -lt 100 ] || return 1
		usleep 100000
		i=$((i + 1))
	done
}

# create CMDLINE: a Debian guest's configuration.
create() {
	polyctl vm create - <<-END
		{"payload": {"kernel": "/guest/kernel", "initramfs": "/guest/initramfs", "cmdline": "$1"},
		 "cpus": {"boot_vcpus": 2, "max_vcpus": 2}, "memory": {"size": 268435456},
		 "serial": {"mode": "File", "file": "$LOG"}, "console": {"mode": "Off"}}
	END
}

# is STATE
is() { polyctl vm info --json | grep -q "\"state\": *\"$1\""; }

# step NAME COMMAND...: one line of the result; the first that fails ends the guest.
step() {
	local name=$1
	shift
	[ -z "$FAILED" ] || return 0
	if "$@" >/tmp/said 2>&1; then
		ok "$name"
	else
		bad "$name" "$* : $(head -n 3 /tmp/said)"
		FAILED=1
		kill -9 $API
		wait $API
	fi
}

stands_still() {
	local before after
	before=$(polyctl vm counters --json | tr -d ' \n')
	sleep 2
	after=$(polyctl vm counters --json | tr -d ' \n')
	[ "$before" = "$after" ]
}

happened() {
	local e
	for e; do grep -q "\"event\": \"$e\"" $EVENTS || { echo "no event $e" && return 1; }; done
}

ended() {
	wait $API
	[ $? = 0 ] && [ ! -e $POLYVISOR_SOCKET ]
}

# A guest whose person presses the power button.
suite_rest() {
	step "REST: the API answers" api
	step "REST: create" create "$ROOT pv.test=power pv.exit=poweroff"
	step "REST: a disk is added" polyctl vm add-disk path=/dev/vda
	step "REST: boot" polyctl vm boot
	step "REST: the guest is up" wait_for "waiting for the power button" 1 200
	step "REST: pause" polyctl vm pause
	step "REST: says that it is paused" is Paused
	step "REST: a paused guest stands still" stands_still
	step "REST: a device's state" polyctl vm device _disk0
	step "REST: resume" polyctl vm resume
	step "REST: a guest's reboot starts it again" polyctl vm reboot
	step "REST: the guest is up again" wait_for "waiting for the power button" 2 200
	step "REST: power button" polyctl vm power-button
	step "REST: the guest saw the power button" wait_for "test power ok" 1 100
	step "REST: the guest's power-off ends the process and its socket" ended
	step "REST: events" happened starting booted paused resumed rebooted activated shutdown

	[ "$(uname -m)" = x86_64 ] || return 0
	step "REST: another instance at the same socket" api
	step "REST: create for an NMI" create "console=ttyS0 unknown_nmi_panic panic=0 pv.exit=hang"
	step "REST: boot for an NMI" polyctl vm boot
	step "REST: up for an NMI" wait_for "guest ready" 1 200
	step "REST: NMI" polyctl vm nmi
	step "REST: the guest panics of the NMI" wait_for "Kernel panic" 1 60
	step "REST: quit" polyctl vm quit
	step "REST: the end" ended
}
