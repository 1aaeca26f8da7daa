# SPDX-License-Identifier: Apache-2.0
"""usage: auto_test.py POLYVISOR CHIP

offload=auto: polyvisor starts a polyvisor-offload of its own, keeps it alive, and leaves nothing of it behind,
however either of them ends. Prints "ok NAME", "not ok NAME: WHY", "skip NAME: WHY". All of it needs a /dev/kvm
that runs bare-metal guests.
"""
import fcntl
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rest  # noqa: E402
from rest import Wrong, expect, until  # noqa: E402

BINARY, CHIP = os.path.abspath(sys.argv[1]), sys.argv[2]
DIR = tempfile.mkdtemp(prefix='polyvisor-auto-')
FAILED = []
HAVE_KVM = subprocess.run([BINARY, '--probe-kvm'], capture_output=True).returncode == 0
LOAD, SPIN, BLK = (rest.guest(CHIP, n) for n in ('load', 'spin', 'virtio-blk'))


def say(status, name, why=''):
    print(f'{status} {name}' + (f': {why}' if why else ''), flush=True)
    if status == 'not ok':
        FAILED.append(name)


def disk(name, size=4 << 20):
    path = os.path.join(DIR, name)
    with open(path, 'wb') as f:
        f.truncate(size)
    return path


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            return f.read().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='utf-8') as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def supervisor(pid):
    """Of this polyvisor: the first child it has."""
    until(lambda: children(pid), 'a supervisor')
    return children(pid)[0]


def offload(pid, but=0, seconds=15):
    """The process that serves this polyvisor's devices, when it is another one than `but`."""
    boss = supervisor(pid)
    until(lambda: [p for p in children(boss) if p != but and alive(p)], 'a polyvisor-offload', seconds)
    return [p for p in children(boss) if p != but][0]


def unlocked(path):
    """Nobody holds the image's lock: struct flock of F_OFD_SETLK (37), exclusive, the whole file."""
    with open(path, 'r+b') as f:
        try:
            fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
        except OSError:
            return False
    return True


def nothing_left(pids, image):
    until(lambda: not any(map(alive, pids)), f'processes {pids} are gone')
    until(lambda: unlocked(image), 'the image is unlocked')
    left = glob.glob(f'{DIR}/*.offload')
    if left:
        raise Wrong(f'left {left}')


def config(image, kernel=None, **keys):
    return {'payload': {'kernel': kernel or SPIN, 'cmdline': 'load.wait=poll'}, 'memory': {'size': rest_ram()},
            'serial': {'mode': 'Null'}, 'console': {'mode': 'Off'}, 'disks': [{'path': image, 'offload': 'auto', **keys}]}


def rest_ram():
    return 64 << 20


def started(name, image, kernel=None, **keys):
    vmm = rest.Vmm(BINARY, DIR, name)
    vmm.do('vm.create', config(image, kernel, **keys))
    vmm.do('vm.boot')
    return vmm


def health(vmm):
    return vmm.info()['polyvisor']['offload'][0]


# ---- cases ----

def whole_case(image):
    """The guest-test of disks, by command line: its exit status is polyvisor's."""
    p = subprocess.run([BINARY, '--kernel', BLK, '--serial', 'tty', '--device', 'test-exit', '--disk',
                        f'path={image},offload=auto,serial=a-serial'], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=60)
    if p.returncode != 33 or "serial 'a-serial'" not in p.stdout or p.stderr:
        raise Wrong(f'status {p.returncode}: {p.stdout[-200:]!r} {p.stderr!r}')


def killed_under_load(image, ring, wait, kills=5):
    """A guest that writes and compares; its disk's process is killed once it has gone on since the last time."""
    log = os.path.join(DIR, 'load.log')
    with open(log, 'wb') as out:
        p = subprocess.Popen([BINARY, '--kernel', LOAD, '--cmdline', f'load.ring={ring} load.wait={wait} load.depth=16',
                              '--machine', 'packed=on', '--serial', 'tty', '--disk', f'path={image},offload=auto'],
                             stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)

    def done():
        with open(log, encoding='utf-8') as f:
            words = re.findall(r'^load (\d+)\n', f.read(), re.M)
        if p.poll() is not None:
            raise Wrong(f'it ended with {p.returncode}')
        return int(words[-1]) if words else 0

    try:
        until(lambda: done() > 0, 'the load begins', 20)
        boss, last = supervisor(p.pid), 0
        for _ in range(kills):
            before, last = done(), offload(p.pid, but=last)
            os.kill(last, signal.SIGKILL)
            until(lambda: done() > before, 'the load goes on', 30)
        last = offload(p.pid, but=last)
        p.terminate()
        if p.wait(15) != -signal.SIGTERM:
            raise Wrong(f'status {p.returncode}')
        with open(log, encoding='utf-8') as f:
            if 'FAIL' in f.read():
                raise Wrong('the guest found what it had not written')
        nothing_left([boss, last], image)
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()


def owner_killed(image):
    vmm = started('owner', image, LOAD)
    pids = [supervisor(vmm.pid), offload(vmm.pid)]
    vmm.end(signal.SIGKILL)
    nothing_left(pids, image)


def health_and_news(image):
    events = os.path.join(DIR, 'events')
    vmm = rest.Vmm(BINARY, DIR, 'health', args=['--event-monitor', f'path={events}'])
    try:
        vmm.do('vm.create', config(image, LOAD))
        vmm.do('vm.boot')
        h, pid = health(vmm), offload(vmm.pid)
        if h != dict(h, id='_disk0', kind='auto', connected=True, pid=pid, restarts=0, reconnects=0):
            raise Wrong(f'at first: {h}')
        os.kill(pid, signal.SIGKILL)
        other = offload(vmm.pid, but=pid)
        until(lambda: health(vmm) == dict(health(vmm), connected=True, pid=other, restarts=1, reconnects=1),
              'vm.info tells of the restart')
        counters = json.loads(vmm.call('GET', 'vm.counters')[2])
        if counters['offload']['restarts'] != 1 or counters['_disk0']['reconnects'] != 1:
            raise Wrong(f'counters: {counters}')
        metrics = vmm.call('GET', '/metrics')[2].decode()
        for line in ('polyvisor_restarts_total{id="offload"} 1', 'polyvisor_offload_connected{id="_disk0",kind="auto"} 1'):
            if line not in metrics:
                raise Wrong(f'no {line} in the metrics')
        with open(events, encoding='utf-8') as f:
            text = f.read()
        for word in ('"restarted"', f'"pid": {other}', '"disconnected"', '"reconnected"'):
            if word not in text:
                raise Wrong(f'no {word} in the events')
    finally:
        vmm.end()


def life_goes_on(image):
    """Pause, reboot and shutdown, while the process is killed, and while it hangs."""
    vmm = started('life', image, LOAD)
    try:
        pid = offload(vmm.pid)
        os.kill(pid, signal.SIGKILL)
        vmm.do('vm.pause')
        vmm.do('vm.resume')
        pid = offload(vmm.pid, but=pid)
        os.kill(pid, signal.SIGKILL)
        vmm.do('vm.reboot')
        pid = offload(vmm.pid, but=pid)
        until(lambda: health(vmm)['connected'], 'connected')
        os.kill(pid, signal.SIGSTOP)
        expect('vm.info', vmm.call('GET', 'vm.info'), 200)
        vmm.do('vm.reboot')
        vmm.do('vm.shutdown')
        vmm.do('vm.boot')
        until(lambda: not health(vmm)['connected'], 'a hung process counts as away')
        boss = supervisor(vmm.pid)
        vmm.do('vm.delete')
        nothing_left([pid], image)
        vmm.do('vm.create', config(image, num_queues=2, poll=10))
        vmm.do('vm.boot')
        pid = offload(vmm.pid)
        if vmm.end() != -signal.SIGTERM:
            raise Wrong('its exit status is not that of the signal')
        nothing_left([boss, pid], image)
    finally:
        vmm.end(signal.SIGKILL)


def added(image):
    """vm.add-disk, by path and as a descriptor; what cannot be added changes nothing."""
    vmm = rest.Vmm(BINARY, DIR, 'added')
    try:
        vmm.do('vm.create', {k: v for k, v in config(image).items() if k != 'disks'})
        with rest.Unharmed(vmm, runs=False):
            expect('add a missing one', vmm.call('PUT', 'vm.add-disk', {'path': f'{DIR}/none', 'offload': 'auto'}), 500,
                   word='does not exist')
        vmm.do('vm.add-disk', {'path': image, 'offload': 'auto'})
        with open(disk('second'), 'r+b') as f:
            expect('add a descriptor', vmm.call('PUT', 'vm.add-disk', {'offload': 'auto', 'id': 'second'}, fds=[f.fileno()]),
                   200, 204)
        pid = offload(vmm.pid)
        expect('add it twice', vmm.call('PUT', 'vm.add-disk', {'path': image, 'offload': 'auto'}), 500, word='lock')
        if offload(vmm.pid) != pid:
            raise Wrong('a disk that is refused has the others served anew')
        if not os.path.exists(vmm.path + '.offload'):
            raise Wrong('no socket for polyctl offload')
        vmm.do('vm.boot')
        if [h['id'] for h in vmm.info()['polyvisor']['offload']] != ['_disk0', 'second']:
            raise Wrong(f'{vmm.info()["polyvisor"]}')
        vmm.do('vm.delete')
        nothing_left([pid], image)
    finally:
        vmm.end()


def refused(name, args, status, *words, binary=BINARY, env=None):
    before = sorted(os.listdir(DIR)), glob.glob('/tmp/polyvisor-??????')
    p = subprocess.run([binary, '--kernel', SPIN, '--serial', 'null', *args], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=30, env=dict(os.environ, **(env or {})))
    lines = p.stderr.splitlines()
    if p.returncode != status or len(lines) != 1 or not lines[0].startswith('polyvisor: ') or \
            any(w not in lines[0] for w in words):
        raise Wrong(f'{name}: status {p.returncode}, said {p.stderr!r}')
    if before != (sorted(os.listdir(DIR)), glob.glob('/tmp/polyvisor-??????')):
        raise Wrong(f'{name}: left something behind')


def bad_input(image):
    auto = ',offload=auto'
    refused('disk missing', ['--disk', f'path={DIR}/none{auto}'], 1, '--disk', 'does not exist')
    refused('disk empty', ['--disk', f'path={disk("empty", 0)}{auto}'], 1, '--disk', 'empty')
    refused('disk too short', ['--disk', f'path={disk("short", 511)}{auto}'], 1, '--disk', 'sector')
    refused('disk twice', ['--disk', f'path={image}{auto}', f'path={image}{auto}'], 1, '--disk', 'lock')
    refused('a bad descriptor', ['--disk', f'fd=77{auto}'], 1, '--disk', 'fd=77')
    refused('memory from a file', ['--disk', f'path={image}{auto}', '--memory', f'size=64M,file={image}'], 2, '--memory file',
            'offload=auto')
    refused('a quotation mark', ['--disk', f'path={image}{auto},serial=a"b'], 2, '--disk')
    refused('tap that is none', ['--net', f'tap=lo{auto}'], 1, '--net', 'lo')
    alone, nowhere = os.path.join(DIR, 'alone'), {'PATH': '/nowhere'}
    os.mkdir(alone)
    shutil.copy(BINARY, alone)
    program = os.path.join(alone, os.path.basename(BINARY))
    refused('no polyvisor-offload', ['--disk', f'path={image}{auto}'], 1, 'polyvisor-offload', '$PATH', binary=program,
            env=nowhere)
    for what, text, *words in (
            ('one that fails', 'echo "polyvisor-offload: what is wrong" >&2; exit 1', 'what is wrong'),
            ('one that says nothing', 'exit 7', 'status 7'),
            ('one that is killed', 'kill -9 $$', 'signal 9')):
        with open(os.path.join(alone, 'polyvisor-offload'), 'w', encoding='utf-8') as f:
            f.write(f'#!/bin/sh\n{text}\n')
        os.chmod(f.name, 0o755)
        refused(what, ['--disk', f'path={image}{auto}'], 1, 'offload=auto', *words, binary=program)


def check(name, run, *args):
    try:
        run(*args)
        say('ok', name)
    except (Wrong, rest.Closed, rest.Hung, OSError, subprocess.SubprocessError, KeyError) as e:
        say('not ok', name, f'{type(e).__name__} {e}')


def main():
    if not HAVE_KVM:
        say('skip', 'auto', '/dev/kvm runs no guest here')
        return 0
    image = disk('disk')
    check('auto: a whole guest-test', whole_case, image)
    for ring, wait in (('split', 'msi'), ('packed', 'poll')):
        check(f'auto: killed under a {ring} load', killed_under_load, image, ring, wait)
    check('auto: nothing stays when polyvisor is killed', owner_killed, image)
    check('auto: health and news', health_and_news, image)
    check('auto: pause, reboot, shutdown and delete meanwhile', life_goes_on, image)
    check('auto: disks are added over REST', added, image)
    check('auto: bad input', bad_input, image)
    return 1 if FAILED else 0


try:
    code = main()
finally:
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
