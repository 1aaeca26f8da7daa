# SPDX-License-Identifier: Apache-2.0
"""usage: cli_test.py POLYVISOR CHIP

Bad input on polyvisor's command line: each mistake ends in one line that names the flag and the
field, with the right exit status, and leaves nothing behind. Prints "ok NAME", "not ok NAME: WHY",
"skip NAME: WHY". Those that need a virtual machine are skipped where /dev/kvm gives none.
"""
import fcntl
import glob
import gzip
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
HAVE_KVM = subprocess.run([BINARY, '--probe-kvm'], capture_output=True).returncode == 0
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


def refused(name, args, status, *words, kvm=False, files=()):
    """Runs and expects one line on stderr with these words, and the status."""
    if kvm and not HAVE_KVM:
        say('skip', name, '/dev/kvm runs no guest here')
        return
    before = inventory()
    try:
        p = subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=30, errors='replace')
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
    refused('unknown cpu model', [*k, '--cpus', 'model=486'], 2, '--cpus model', 'host')


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
    refused('more vCPUs than the host can', ['--kernel', tiny, '--cpus', 'boot=255', *quiet], 2,
            '--cpus boot', kvm=True) if cpu_limit() < 255 else say(
                'skip', 'more vCPUs than the host can', 'this host can as many as polyvisor offers')
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
    refused('disk missing', [*base, '--disk', f'path={path("none")}'], 1, '--disk', 'No such file',
            kvm=True)
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
    as_nobody('tap without permission', [*base, '--net', 'tap=pv-none'], '--net')
    as_nobody('/dev/kvm without permission', base, '/dev/kvm', kvm_denied=True)
    without_dev('/dev/kvm missing', base)


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


def without_dev(name, args):
    """In a mount namespace whose /dev is empty."""
    if os.geteuid() != 0:
        say('skip', name, 'needs root, for a mount namespace')
        return
    script = 'mount -t tmpfs none /dev && exec "$@"'
    p = subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', BINARY, *args],
                       stdin=subprocess.PIPE, capture_output=True, text=True, timeout=30)
    if p.returncode == 1 and p.stderr.startswith('polyvisor: /dev/kvm') and p.stderr.count('\n') == 1:
        say('ok', name)
    else:
        say('not ok', name, f'status {p.returncode}, said {p.stderr!r}')


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
                         start_new_session=True)
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
    tiny = guest(CHIP, 'tiny')
    if not tiny:
        say('not ok', 'guests', f'no guest-tests of {CHIP} are built')
    else:
        kernel_cases(tiny)
        disk_cases(tiny)
        host_cases(tiny)
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        ended_by(f'{signal.Signals(sig).name} gives everything back', sig)
    quit_report()
    return 1 if FAILED else 0


try:
    code = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
