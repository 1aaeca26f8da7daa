# SPDX-License-Identifier: Apache-2.0
"""usage: cli_test.py POLYVISOR CHIP

Bad input on polyvisor's command line: each mistake ends in one line that names the flag and the
field, with the right exit status, and leaves nothing behind. Prints "ok NAME", "not ok NAME: WHY",
"skip NAME: WHY". Those that need a virtual machine are skipped where /dev/kvm gives none.
"""
import fcntl
import glob
import gzip
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

BINARY, CHIP = sys.argv[1:3]
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIR = tempfile.mkdtemp(prefix='polyvisor-cli-')
FAILED = []
PROBE = subprocess.run([BINARY, '--probe-kvm'], capture_output=True, text=True)
HAVE_KVM, VERDICT = PROBE.returncode == 0, json.loads(PROBE.stdout or '{}').get('verdict')
OTHER = {'x86_64': 'arm64', 'arm64': 'riscv64', 'riscv64': 'x86_64'}[CHIP]


def guest(chip, name):
    """A bare-metal guest of a chip, wherever tools/build put it."""
    found = glob.glob(f'{TREE}/build/{chip}/root/usr/**/guest-tests/{name}', recursive=True)
    return found[0] if found else None


def path(name, data=None):
    p = os.path.join(DIR, name)
    if data is not None:
        with open(p, 'wb') as f:
            f.write(data)
    return p


def say(status, name, why=''):
    print(f'{status} {name}' + (f': {why}' if why else ''), flush=True)
    if status == 'not ok':
        FAILED.append(name)


def inventory():
    """What a run could leave behind."""
    return (sorted(os.listdir('/sys/class/net')), sorted(os.listdir(DIR)),
            sorted(glob.glob('/tmp/polyvisor-crash-*')))


def refused(name, args, status, *words, kvm=False, env=None):
    """Runs and expects one line on stderr with these words, and the status."""
    if kvm and not HAVE_KVM:
        say('skip', name, '/dev/kvm runs no guest here')
        return
    before = inventory()
    try:
        p = subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=30, errors='replace',
                           env=dict(os.environ, **(env or {})))
    except subprocess.TimeoutExpired:
        say('not ok', name, 'did not end')
        return
    lines = p.stderr.strip().splitlines()
    if p.returncode != status:
        say('not ok', name, f'exit status {p.returncode}, not {status}; said {p.stderr.strip()!r}')
    elif len(lines) != 1 or not lines[0].startswith('polyvisor: '):
        say('not ok', name, f'not one line: {lines}')
    elif any(w not in lines[0] for w in words):
        say('not ok', name, f'{words} not in {lines[0]!r}')
    elif inventory() != before:
        say('not ok', name, f'left something behind: {before} became {inventory()}')
    else:
        say('ok', name)


def usage_cases():
    k = ['--kernel', '/dev/null']
    refused('unknown flag', ['--colour', 'blue'], 2, '--colour')
    refused('a word that is no flag', ['blue'], 2, 'blue')
    refused('flag without a value', ['--kernel'], 2, '--kernel', 'needs a value')
    refused('unknown key', [*k, '--disk', 'paht=x'], 2, '--disk', 'paht', 'path')
    refused('value out of range', [*k, '--cpus', 'boot=0'], 2, '--cpus boot', '1')
    refused('value not a number', [*k, '--cpus', 'boot=two'], 2, '--cpus boot', 'two')
    refused('the same id twice', [*k, '--disk', 'path=a,id=x', '--disk', 'path=b,id=x'], 2,
            '--disk', 'id', 'x')
    refused('memory too small', [*k, '--memory', 'size=1M'], 2, '--memory size', '16M')
    refused('memory absurd', [*k, '--memory', 'size=9999999T'], 2, '--memory size')
    refused('memory not a size', [*k, '--memory', 'size=lots'], 2, '--memory size', 'lots')
    refused('no kernel', ['--memory', 'size=64M'], 2, '--kernel')
    refused('two on the terminal', [*k, '--console', 'tty'], 2, '--console', 'tty')
    refused('unknown device', [*k, '--device', 'toaster'], 2, '--device', 'test-exit')
    refused('unknown reboot action', [*k, '--on-reboot', 'maybe'], 2, '--on-reboot', 'restart')
    refused('unknown machine version', [*k, '--machine', 'version=99'], 2, '--machine version')
    refused('unknown seccomp mode', [*k, '--seccomp', 'maybe'], 2, '--seccomp', 'log')
    refused('nobody to boot again', [*k, '--no-shutdown'], 2, '--no-shutdown', '--api-socket')
    refused('API socket not a socket', [*k, '--api-socket', 'fd=0'], 2, '--api-socket')
    refused('API socket nowhere', [*k, '--api-socket', f'path={DIR}/none/s'], 1, '--api-socket',
            'No such file')
    refused('event monitor nowhere', [*k, '--event-monitor', f'path={DIR}/none/s'], 1,
            '--event-monitor', 'No such file')
    refused('machine without a kernel beside an API socket',
            ['--cpus', 'boot=1', '--api-socket', path('s')], 2, '--kernel')
    refused('kernel a bad descriptor', ['--kernel', 'fd=77'], 1, '--kernel fd=77')
    refused('kernel not a descriptor', ['--kernel', 'fd=x'], 2, '--kernel fd=x')
    refused('a host CPU that is not there', [*k, '--cpus', 'affinity=[0@[1000]]'], 2,
            '--cpus affinity', '1000')
    refused('unknown cpu model', [*k, '--cpus', 'model=486'], 2, '--cpus model', 'host')


def served_elsewhere_cases():
    """Keys that exclude each other, and what is not there."""
    k = ['--kernel', '/dev/null']
    vu = 'vhost_user=on,vhost_socket=/nowhere/s'
    refused('offload=auto of what is served already', [*k, '--disk', f'{vu},offload=auto'], 2, '--disk', 'offload=auto')
    refused('offload unknown', [*k, '--disk', 'path=a,offload=maybe'], 2, '--disk offload', 'auto')
    refused('poll of what is served elsewhere', [*k, '--disk', f'{vu},poll=5'], 2, '--disk', 'poll')
    refused('poll more than a core', [*k, '--disk', 'path=a,poll=101'], 2, '--disk poll', '100')
    refused('too many queues', [*k, '--disk', 'path=a,num_queues=17'], 2, '--disk num_queues', '16')
    refused('an odd number of queues', [*k, '--net', 'num_queues=3'], 2, '--net num_queues', 'odd')
    refused('pairs of passt', [*k, '--net', 'backend=passt,num_queues=4'], 2, '--net', 'passt')
    refused('pairs of a descriptor', [*k, '--net', 'fd=9,num_queues=4'], 2, '--net', 'tap=NAME')
    refused('two servers of a network', [*k, '--net', 'tap=t,vhost=on,offload=auto'], 2, '--net', 'vhost=on', 'offload=auto')
    refused('vhost of passt', [*k, '--net', 'backend=passt,vhost=on'], 2, '--net', 'vhost=on')
    refused('device of no type', [*k, '--device', 'vhost-user,socket=/nowhere/s'], 2, '--device vhost-user', 'type')
    refused('device of an unknown type', [*k, '--device', 'vhost-user,type=toaster,socket=/s'], 2,
            '--device vhost-user type', 'fs')
    refused('device without a socket', [*k, '--device', 'vhost-user,type=fs'], 2, '--device vhost-user', 'socket')
    refused('vDPA without a path', [*k, '--vdpa', 'id=v'], 2, '--vdpa', 'path')
    refused('the same id in two kinds', [*k, '--disk', 'path=a,id=x', '--vdpa', 'path=b,id=x'], 2, '--vdpa', 'x')


def served_elsewhere_host_cases(tiny):
    base = ['--kernel', tiny, '--serial', 'null']
    refused('device whose socket is missing', [*base, '--device', 'vhost-user,type=fs,socket=/nowhere/s'], 1,
            '--device vhost-user', '/nowhere/s', kvm=True)
    refused('device whose socket is a file', [*base, '--device', f'vhost-user,type=fs,socket={path("plain", b"x")}'], 1,
            '--device vhost-user', 'not a socket', kvm=True)
    refused('vDPA device missing', [*base, '--vdpa', 'path=/dev/vhost-vdpa-99'], 1, '--vdpa', '/dev/vhost-vdpa-99', kvm=True)
    refused('vDPA device that is none', [*base, '--vdpa', 'path=/dev/null'], 1, '--vdpa', '/dev/null', kvm=True)
    if os.path.exists('/dev/vhost-net'):
        say('skip', 'no vhost-net', 'this host has it')
    else:
        refused('no vhost-net', [*base, '--net', 'tap=pv-vh,vhost=on'], 1, '--net', 'vhost', kvm=True)


def kernel_cases(tiny):
    quiet = ['--serial', 'null']
    data = open(tiny, 'rb').read()
    refused('kernel missing', ['--kernel', path('none'), *quiet], 1, '--kernel', 'No such file')
    refused('kernel a directory', ['--kernel', DIR, *quiet], 1, '--kernel', 'regular file')
    refused('kernel empty', ['--kernel', path('empty', b''), *quiet], 1, '--kernel', 'empty')
    refused('kernel not a kernel', ['--kernel', path('text', b'hello\n' * 4000), *quiet], 1,
            '--kernel', kvm=True)
    refused('kernel truncated', ['--kernel', path('cut', data[:len(data) // 3]), *quiet], 1,
            '--kernel', kvm=True)
    refused('kernel of a few bytes', ['--kernel', path('few', data[:7]), *quiet], 1, '--kernel',
            kvm=True)
    foreign = guest(OTHER, 'tiny')
    if foreign:
        refused('kernel of another chip', ['--kernel', foreign, *quiet], 1, '--kernel', kvm=True)
    else:
        say('skip', 'kernel of another chip', f'no guest-tests of {OTHER} are built')
    if CHIP != 'x86_64':
        refused('kernel a broken gzip', ['--kernel', path('gz', gzip.compress(data)[:200]), *quiet],
                1, '--kernel', kvm=True)
    refused('initramfs missing', ['--kernel', tiny, '--initramfs', path('none'), *quiet], 1,
            '--initramfs', 'No such file')
    with open(path('huge'), 'wb') as f:
        f.truncate(128 << 20)
    refused('initramfs too large', ['--kernel', tiny, '--initramfs', path('huge'), '--memory',
                                    'size=64M', *quiet], 1, '--initramfs', kvm=True)
    refused('baseline missing', ['--kernel', tiny, '--cpus', f'model=baseline:{path("none")}',
                                 *quiet], 1, '--cpus model', 'No such file')
    refused('baseline unknown directive',
            ['--kernel', tiny, '--cpus', f'model=baseline:{path("bl", b"frobnicate 1" + bytes([10]))}',
             *quiet], 2, '--cpus model', '1', kvm=True)
    # Where the host can more than polyvisor offers, a unit test of control stands for this one.
    refused('more vCPUs than the host can',
            ['--kernel', tiny, '--cpus', f'boot={min(cpu_limit(), 255) + 1}', *quiet], 2,
            '--cpus boot', '1', str(min(cpu_limit(), 255)), kvm=True)
    refused('memory unaligned', ['--kernel', tiny, '--memory', 'size=67108865', *quiet], 2,
            '--memory size', kvm=True)


def cpu_limit():
    try:
        with open('/dev/kvm', 'rb') as f:
            return fcntl.ioctl(f, 0xae03, 66)  # KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS
    except OSError:
        return 0


def disk_cases(tiny):
    base = ['--kernel', tiny, '--serial', 'null']
    refused('disk missing', [*base, '--disk', f'path={path("none")}'], 1, '--disk', 'path=',
            'does not exist', 'allowed', kvm=True)
    refused('disk a directory', [*base, '--disk', f'path={DIR}'], 1, '--disk', 'directory', kvm=True)
    refused('disk zero-length', [*base, '--disk', f'path={path("empty", b"")}'], 1, '--disk',
            kvm=True)
    refused('disk shorter than a sector', [*base, '--disk', f'path={path("few", b"abc")}'], 1,
            '--disk', kvm=True)
    disk = path('disk', bytes(1 << 20))
    with open(disk, 'r+b') as f:
        # struct flock of F_OFD_SETLK (37): exclusive, the whole file
        fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
        refused('disk locked', [*base, '--disk', f'path={disk}'], 1, '--disk', 'lock', kvm=True)
    refused('disk twice', [*base, '--disk', f'path={disk}', '--disk', f'path={disk}'], 1, '--disk',
            'lock', kvm=True)
    refused('disk with a bad descriptor', [*base, '--disk', 'fd=77'], 1, '--disk', kvm=True)


def host_cases(tiny):
    base = ['--kernel', tiny, '--serial', 'null']
    refused('serial file in no directory', ['--kernel', tiny, '--serial', 'file=/nowhere/x'], 1,
            '--serial', kvm=True)
    refused('serial socket path in no directory',
            ['--kernel', tiny, '--serial', 'socket=/nowhere/s'], 1, '--serial', kvm=True)
    refused('rng source missing', [*base, '--rng', 'src=/nowhere'], 1, '--rng', kvm=True)
    refused('net with a bad descriptor', [*base, '--net', 'fd=77'], 1, '--net', kvm=True)
    refused('tap name too long', [*base, '--net', 'tap=a-name-longer-than-linux-allows'], 2, '--net',
            'tap', '15', kvm=True)
    without('tap missing', '/dev/net/tun', [*base, '--net', 'tap=pv-none'], '--net', '/dev/net/tun')
    tap_taken('tap taken', base)
    refused('passt missing', [*base, '--net', 'backend=passt'], 1, '--net', 'passt', kvm=True,
            env={'PATH': '/nowhere'})
    as_nobody('tap without permission', [*base, '--net', 'tap=pv-none'], '--net')
    as_nobody('/dev/kvm without permission', base, '/dev/kvm', kvm_denied=True)
    without('/dev/kvm missing', '/dev/kvm', base, '/dev/kvm')
    without('/dev/kvm is not KVM', '/dev/kvm', base, '/dev/kvm', instead='/dev/null')
    unable('/dev/kvm unable to run the guest')


def as_nobody(name, args, word, kvm_denied=False):
    """As a user with no rights; /dev/kvm open or shut to them as the case needs."""
    if os.geteuid() != 0 or not HAVE_KVM:
        say('skip', name, 'needs root, to become somebody else, and a working /dev/kvm')
        return
    mode = os.stat('/dev/kvm').st_mode & 0o777
    os.chmod('/dev/kvm', 0o600 if kvm_denied else 0o666)
    os.chmod(DIR, 0o755)
    try:
        binary, copy = path('polyvisor-copy'), path('kernel-copy')
        shutil.copy(BINARY, binary)
        shutil.copy(args[1], copy)
        p = subprocess.run([binary, '--kernel', copy, *args[2:]], user=65534, group=65534,
                           extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=30)
    finally:
        os.chmod('/dev/kvm', mode)
    lines = p.stderr.strip().splitlines()
    if p.returncode == 1 and len(lines) == 1 and word in lines[0]:
        say('ok', name)
    else:
        say('not ok', name, f'status {p.returncode}, said {lines}')


def without(name, node, args, *words, instead=None):
    """In a mount namespace where /dev has no such node, or another file in its place."""
    if os.geteuid() != 0 or (node != '/dev/kvm' and not HAVE_KVM):
        say('skip', name, 'needs root, for a mount namespace, and a working /dev/kvm')
        return
    if instead:
        script = f'mount --bind {instead} {node} && exec "$@"'
    else:
        # A tmpfs with links to the other nodes, seen through a second mount of the real /dev.
        script = (f'mkdir {DIR}/dev && mount --rbind /dev {DIR}/dev && mount -t tmpfs none /dev && '
                  f'mkdir /dev/net && for f in null zero urandom kvm net/tun; do '
                  f'ln -s {DIR}/dev/$f /dev/$f; done && rm {node} && exec "$@"')
    p = subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', BINARY, *args],
                       stdin=subprocess.PIPE, capture_output=True, text=True, timeout=30)
    if os.path.isdir(f'{DIR}/dev'):
        os.rmdir(f'{DIR}/dev')
    lines = p.stderr.splitlines()
    if p.returncode == 1 and len(lines) == 1 and lines[0].startswith('polyvisor: ') and \
            all(w in lines[0] for w in words):
        say('ok', name)
    else:
        say('not ok', name, f'status {p.returncode}, said {p.stderr!r}')


def tap_taken(name, base):
    """A tap that another process has open; it goes with that process's descriptor."""
    try:
        tun = open('/dev/net/tun', 'r+b', buffering=0)
        # struct ifreq: name, IFF_TAP | IFF_NO_PI; TUNSETIFF
        fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'pv-taken', 0x1002))
    except OSError as e:
        say('skip', name, f'no tap can be made here: {e}')
        return
    with tun:
        refused(name, [*base, '--net', 'tap=pv-taken'], 1, '--net', 'pv-taken', 'used', kvm=True)


def pvh(code):
    """A minimal x86-64 ELF with a PVH note that runs this code in 32-bit protected mode at 1 MiB."""
    entry, at = 0x100000, 0x200
    note = struct.pack('<III4sI', 4, 4, 18, b'Xen', entry)  # XEN_ELFNOTE_PHYS32_ENTRY
    head = struct.pack('<4sBBBB8xHHIQQQIHHHHHH', b'\x7fELF', 2, 1, 1, 0, 2, 62, 1, entry, 64, 0, 0,
                       64, 56, 2, 0, 0, 0)
    load = struct.pack('<IIQQQQQQ', 1, 5, at, entry, entry, len(code), len(code), 4096)
    notes = struct.pack('<IIQQQQQQ', 4, 4, 0x100, 0, 0, len(note), len(note), 4)
    return (head + load + notes).ljust(0x100, b'\0') + note.ljust(0x100, b'\0') + code


def unable(name):
    """A guest that this /dev/kvm cannot go on with is not left hanging: status 3, a line that says
    why, and a crash report. Where KVM emulates kernel-mode code, an AVX instruction is enough;
    elsewhere code that lies in a device's registers, which KVM cannot fetch."""
    if CHIP != 'x86_64' or not HAVE_KVM:
        say('skip', name, 'the code is for x86_64 and needs /dev/kvm')
        return
    report = path('unable.json')
    avx = b'\xc5\xfc\x28\xc0'  # vmovaps %ymm0, %ymm0
    jump = b'\xb8\x00\x00\xc0\xfe\xff\xe0'  # jmp to the IOAPIC's registers
    kernel = path('unable', pvh((avx if VERDICT == 'bare-metal' else b'') + jump))
    p = subprocess.run([BINARY, '--kernel', kernel, '--serial', 'null', '--memory', 'size=64M',
                        '--crash-report', report, '--on-reboot', 'exit'], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=30)
    text = open(report, encoding='utf-8').read() if os.path.exists(report) else ''
    lines = p.stderr.splitlines()
    if p.returncode == 3 and 'emula' in p.stderr and '"pc"' in text and \
            all(l.startswith('polyvisor: ') for l in lines):
        say('ok', name)
    else:
        say('not ok', name, f'status {p.returncode}, said {lines}, report {text[:80]!r}')


def spin_guest():
    """A guest that stays: the serial test waits for nobody, so a test that loops is used."""
    return guest(CHIP, 'spin')


def ended_by(name, sig):
    """A signal ends the process as such, with the terminal and the socket put back."""
    kernel = spin_guest()
    if not HAVE_KVM or not kernel:
        say('skip', name, '/dev/kvm runs no guest here, or the spin guest is not built')
        return
    sock = path('console')
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    p = subprocess.Popen([BINARY, '--kernel', kernel, '--serial', 'tty', '--console',
                          f'socket={sock}'], stdin=slave, stdout=slave, stderr=slave,
                         start_new_session=True,  # with the terminal as its own
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    for _ in range(100):
        if termios.tcgetattr(slave) != before and os.path.exists(sock):
            break
        time.sleep(0.05)
    raw = termios.tcgetattr(slave) != before
    p.send_signal(sig)
    try:
        status = p.wait(15)
    except subprocess.TimeoutExpired:
        p.kill()
        status = None
    restored = termios.tcgetattr(slave) == before
    gone = not os.path.exists(sock)
    os.close(master)
    os.close(slave)
    if raw and status == -sig and restored and gone:
        say('ok', name)
    else:
        say('not ok', name, f'raw {raw}, status {status}, terminal restored {restored}, '
            f'socket gone {gone}')


def quit_report():
    """SIGQUIT on a guest that hangs: a report that says so, status 3."""
    name = 'SIGQUIT writes a crash report'
    kernel = spin_guest()
    if not HAVE_KVM or not kernel:
        say('skip', name, '/dev/kvm runs no guest here, or the spin guest is not built')
        return
    report = path('report.json')
    p = subprocess.Popen([BINARY, '--kernel', kernel, '--serial', 'null', '--crash-report', report],
                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    p.send_signal(signal.SIGQUIT)
    try:
        _, said = p.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        p.kill()
        say('not ok', name, 'did not end')
        return
    text = open(report).read() if os.path.exists(report) else ''
    good = p.returncode == 3 and '"reason": "asked for by SIGQUIT"' in text and '"pc"' in text
    say('ok' if good else 'not ok', name, '' if good else f'status {p.returncode}, said {said!r}')


def main():
    usage_cases()
    served_elsewhere_cases()
    tiny = guest(CHIP, 'tiny')
    if not tiny:
        say('not ok', 'guests', f'no guest-tests of {CHIP} are built')
    else:
        kernel_cases(tiny)
        disk_cases(tiny)
        host_cases(tiny)
        served_elsewhere_host_cases(tiny)
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        ended_by(f'{signal.Signals(sig).name} gives everything back', sig)
    quit_report()
    return 1 if FAILED else 0


try:
    code = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
