# SPDX-License-Identifier: Apache-2.0
"""usage: polyctl_test.py POLYVISOR POLYCTL CHIP

polyctl vm, every verb, against a polyvisor with a bare-metal guest. Prints "ok NAME",
"not ok NAME: WHY", "skip NAME: WHY". Skipped as a whole where /dev/kvm gives no virtual machine.
"""
import fcntl
import glob
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

POLYVISOR, POLYCTL = map(os.path.abspath, sys.argv[1:3])
CHIP = sys.argv[3]
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIR = tempfile.mkdtemp(prefix='polyctl-test-')
SOCKET = os.path.join(DIR, 'vm.sock')
ENV = dict(os.environ, POLYVISOR_SOCKET=SOCKET, LC_ALL='C.UTF-8')
FAILED = []
SERVERS = []


class Wrong(Exception):
    """What a test expected and did not see."""


def case(name):
    """A test: a function that raises Wrong; its name is printed with what came of it."""
    def run(f):
        try:
            f()
            print(f'ok {name}', flush=True)
        except (Wrong, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
            print(f'not ok {name}: {type(e).__name__}: {e}', flush=True)
            FAILED.append(name)
        return f
    return run


def expect(what, why):
    if not what:
        raise Wrong(why)


def vm(*words, status=0, timeout=30, **kw):
    """Runs polyctl vm; what it printed, or with another status its one line on stderr."""
    p = subprocess.run([POLYCTL, 'vm', *words], env=ENV, capture_output=True, text=True, cwd=DIR,
                       timeout=timeout, stdin=kw.pop('stdin', subprocess.DEVNULL), **kw)
    expect(p.returncode == status, f'{words}: status {p.returncode}, said {p.stderr or p.stdout!r}')
    if status == 0:
        return p.stdout
    lines = p.stderr.splitlines()
    expect(len(lines) == 1 and lines[0].startswith('polyctl: '), f'{words}: not one line: {lines}')
    return lines[0]


def state():
    return json.loads(vm('info', '--json'))['state']


def start():
    p = subprocess.Popen([POLYVISOR, '--api-socket', f'path={SOCKET}'], cwd='/', env=ENV,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                         text=True)
    SERVERS.append(p)
    return p


def guest(name):
    found = glob.glob(f'{TREE}/build/{CHIP}/root/usr/**/guest-tests/{name}', recursive=True)
    return found[0] if found else None


# ---- whole life of one machine ----

def life():
    server = start()

    @case('ping waits for a polyvisor that starts')
    def _():
        said = vm('ping', '--wait', '20')
        expect('version' in said and str(server.pid) in said, said)

    @case('what needs a machine is refused without one')
    def _():
        for verb in ('info', 'boot', 'pause', 'counters'):
            vm(verb, status=1)

    @case('create from flags, with names seen from here')
    def _():
        with open(f'{DIR}/disk.raw', 'wb') as f:
            f.truncate(1 << 20)
        vm('create', '--kernel', guest('spin'), '--memory', 'size=64M', '--disk', 'path=disk.raw,id=one')
        config = json.loads(vm('info', '--json'))['config']
        expect(state() == 'Created', state())
        expect(config['disks'][0]['path'] == f'{DIR}/disk.raw', config['disks'])
        expect(config['memory']['size'] == 64 << 20, config['memory'])
        expect(config['serial']['mode'] == 'Pty', config['serial'])

    @case('create from JSON, a file and standard input')
    def _():
        vm('delete')
        with open(f'{DIR}/vm.json', 'w', encoding='utf-8') as f:
            json.dump({'payload': {'kernel': guest('spin')}, 'memory': {'size': 64 << 20},
                       'serial': {'mode': 'Pty'}, 'console': {'mode': 'Off'}}, f)
        vm('create', 'vm.json')
        vm('delete')
        with open(f'{DIR}/vm.json', encoding='utf-8') as f:
            vm('create', '-', stdin=f)
        expect(state() == 'Created', state())
        vm('create', 'nowhere.json', status=1)
        with open(f'{DIR}/bad.json', 'w', encoding='utf-8') as f:
            f.write('{"payload": }')
        expect('bad.json:1:' in vm('create', 'bad.json', status=2), 'no place of the error')

    @case('devices are added before boot')
    def _():
        with open(f'{DIR}/two.raw', 'wb') as f:
            f.truncate(1 << 20)
        vm('add-disk', 'path=disk.raw', 'id=one')
        with open(f'{DIR}/two.raw', 'r+b') as f:
            vm('add-disk', '--fd', str(f.fileno()), 'id=two', pass_fds=[f.fileno()])
        vm('add-vsock', f'cid=3,socket={DIR}/vsock')
        ids = vm('devices', '--ids').split()
        expect({'one', 'two'} <= set(ids), ids)
        expect('one' in vm('add-disk', 'path=disk.raw', 'id=one', status=1), 'the id is not named')
        vm('add-disk', 'path=nowhere.raw', status=1)

    @case('boot, and the event that tells it')
    def _():
        events = subprocess.Popen([POLYCTL, 'vm', 'events', '--until', 'vm.booted'], env=ENV,
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        vm('boot')
        said, _ = events.communicate(timeout=20)
        expect(events.returncode == 0 and said.splitlines()[-1].endswith('booted'), said)
        expect(state() == 'Running', state())
        vm('boot', status=1)
        vm('add-disk', 'path=disk.raw', status=1)

    @case('info is a table of state and of devices')
    def _():
        said = vm('info')
        for word in ('Running', '64M', 'DEVICE', 'virtio-blk', 'disk.raw', '/dev/pts/'):
            expect(word in said, f'{word!r} not in {said}')

    @case('counters, metrics, a device')
    def _():
        expect('vcpu0' in vm('counters'), 'no vcpu0')
        expect('polyvisor_vm_state{state="Running"} 1' in vm('metrics'), vm('metrics'))
        expect(json.loads(vm('device', 'one', '--json'))['id'] == 'one', 'no id')
        expect(vm('device', 'one').startswith('id'), vm('device', 'one'))
        expect('none' in vm('device', 'none', status=1), 'the id is not named')
        vm('device', 'a/b c', status=1)

    @case('the API is described, in itself and in docs/api.md')
    def _():
        page = open(f'{TREE}/docs/api.md', encoding='utf-8').read()
        api = json.loads(vm('openapi'))
        missing = [p for p in api['paths'] if p.replace('/api/v1/', '') not in page]
        expect(len(api['paths']) > 20 and not missing, f'not in docs/api.md: {missing}')

    console_cases()

    @case('pause and resume')
    def _():
        vm('pause')
        expect(state() == 'Paused', state())
        vm('pause', status=1)
        vm('resume')
        expect('resume' in vm('resume', status=1), 'the call is not named')

    @case('coredump writes an ELF core, never over a file')
    def _():
        vm('coredump', 'core.elf', timeout=60)
        with open(f'{DIR}/core.elf', 'rb') as f:
            head = f.read(18)
        expect(head[:4] == b'\x7fELF' and head[16] == 4, head)
        expect(state() == 'Running', state())
        expect('core.elf' in vm('coredump', 'core.elf', status=1), 'the file is not named')

    @case('nmi and the power button, which this guest does not listen to')
    def _():
        vm('power-button')
        for p in (subprocess.run([POLYCTL, 'vm', 'nmi'], env=ENV, capture_output=True, text=True),):
            expect(p.returncode in (0, 1), p.stderr)

    @case('bash completes verbs, keys and ids of devices')
    def _():
        script = subprocess.run([POLYCTL, 'completion', 'bash'], capture_output=True, text=True).stdout
        ask = ('compopt() { :; }; w() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _polyctl; '
               'echo "${COMPREPLY[*]}"; }; w polyctl vm de; w polyctl vm add-disk read; '
               'w polyctl vm device ""')
        path = os.path.dirname(POLYCTL) + ':' + ENV['PATH']
        p = subprocess.run(['bash', '-c', script + ask], env=dict(ENV, PATH=path), capture_output=True,
                           text=True, timeout=20)
        lines = p.stdout.splitlines()
        expect(len(lines) == 3 and lines[0] == 'delete devices device' and lines[1] == 'readonly=' and
               'one' in lines[2].split(), f'{lines} {p.stderr}')

    @case('reboot, shutdown, and boot again')
    def _():
        vm('reboot')
        for _ in range(100):
            if state() == 'Running':
                break
            time.sleep(0.05)
        vm('shutdown')
        expect(state() == 'Created', state())
        vm('boot')
        expect(state() == 'Running', state())

    @case('quit ends polyvisor, whose followers see it')
    def _():
        events = subprocess.Popen([POLYCTL, 'vm', 'events', '--json'], env=ENV, text=True,
                                  stdout=subprocess.PIPE)
        time.sleep(0.5)
        vm('quit')
        expect(server.wait(20) == 0, f'polyvisor: status {server.returncode}')
        said, _ = events.communicate(timeout=20)
        expect(events.returncode == 0, f'events: status {events.returncode}')
        expect([json.loads(l)['event'] for l in said.splitlines()][-1] == 'shutdown', said)
        expect('No such file' in vm('ping', status=1), 'the socket is still there')


# ---- the console ----

def console_cases():
    @case('console without a terminal copies what the guest says')
    def _():
        p = subprocess.Popen([POLYCTL, 'vm', 'console'], env=ENV, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        p.send_signal(signal.SIGTERM)
        said, err = p.communicate(timeout=10)
        expect(b'spinning' in said, said + err)
        expect(p.returncode == -signal.SIGTERM, f'status {p.returncode}')

    @case('Ctrl-A x leaves the console and puts the terminal back')
    def _():
        on_terminal(lambda p, master: os.write(master, b'abc\x01x'), 0)

    @case('a signal leaves the console and puts the terminal back')
    def _():
        on_terminal(lambda p, master: p.send_signal(signal.SIGHUP), -signal.SIGHUP)


def on_terminal(leave, status):
    """vm console on a terminal of its own, which is raw meanwhile and as it was afterwards."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    p = subprocess.Popen([POLYCTL, 'vm', 'console'], env=ENV, stdin=slave, stdout=slave, stderr=slave,
                         start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    try:
        for _ in range(100):
            if termios.tcgetattr(slave) != before:
                break
            time.sleep(0.05)
        expect(termios.tcgetattr(slave) != before, 'never raw')
        time.sleep(0.2)
        leave(p, master)
        expect(p.wait(10) == status, f'status {p.returncode}')
        expect(termios.tcgetattr(slave) == before, 'not as it was')
    finally:
        p.kill()
        p.wait()
        os.close(master)
        os.close(slave)


def other_consoles():
    server = start()

    @case('console says why it cannot attach')
    def _():
        vm('ping', '--wait', '20')
        for mode, word in (('null', 'Null'), ('off', 'Off'), (f'file={DIR}/serial.log', 'serial.log')):
            vm('create', '--kernel', guest('spin'), '--serial', mode)
            expect(word in vm('console', status=1), f'{mode}: no {word}')
            vm('delete')

    @case('console attaches to a socket')
    def _():
        vm('create', '--kernel', guest('spin'), '--serial', f'socket={DIR}/serial.sock')
        p = subprocess.Popen([POLYCTL, 'vm', 'console'], env=ENV, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.5)
        vm('boot')
        time.sleep(1)
        vm('delete')
        said, err = p.communicate(timeout=10)
        expect(b'spinning' in said and p.returncode == 0, said + err)

    @case('a polyvisor that was killed: one line that says so')
    def _():
        server.kill()
        server.wait()
        expect('has ended' in vm('ping', status=1), vm('ping', status=1))


def main():
    if subprocess.run([POLYVISOR, '--probe-kvm'], capture_output=True, check=False).returncode:
        print('skip polyctl: /dev/kvm runs no guest here')
        return 0
    if not guest('spin'):
        print(f'not ok polyctl: no guest-tests of {CHIP} are built')
        return 1
    life()
    other_consoles()
    return 1 if FAILED else 0


try:
    code = main()
finally:
    for s in SERVERS:
        s.kill()
        s.wait()
    shutil.rmtree(DIR, ignore_errors=True)
sys.exit(code)
