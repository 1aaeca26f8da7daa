# SPDX-License-Identifier: Apache-2.0
"""What goes wrong below a cloud, on this machine's own KVM with control and node as two processes: each hop is broken and
`diagnose` must name it; the control plane is away and all goes on; a backup of before is restored and what runs is taken
over; a VMM cannot reach what is another's. Prints a line for each, as the other tests do."""
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time

from cloud_rig import Answer, Cloud, guest
from processes import start_of


class Wrong(Exception):
    pass


def expect(true, what):
    if not true:
        raise Wrong(what)


def get(c, name):
    return c.call('GET', f'/v1/instances/{name}')


def make(c, name, **more):
    c.call('POST', '/v1/instances', {'name': name, 'image': 'spin', 'network': None, 'memory_mib': 64, **more})
    c.until(f'{name} runs', lambda: get(c, name)['observed']['state'] == 'running')


def drop(c, name):
    try:
        c.call('DELETE', f'/v1/instances/{name}')
    except Answer as e:
        if e.status != 404:
            raise
    c.until(f'{name} is gone', lambda: name not in [i['name'] for i in c.every('instances')])


def parts(c, name):
    """{'vmm': pid, 'disks': pid, 'net': pid} of those that there are."""
    o = get(c, name)['observed']
    return {'vmm': o['pid'], **{p['id']: p['pid'] for p in o['offload']}}


def diagnose(c, name):
    return c.call('GET', f'/v1/instances/{name}/diagnose')


def names(c, name, hop, word=''):
    """diagnose comes to name this hop, with such evidence."""
    seen = []

    def does():
        doc = diagnose(c, name)
        seen[:] = [doc]
        return doc['first_unhealthy'] == hop and word in next(h['evidence'] for h in doc['hops'] if h['hop'] == hop)
    try:
        c.until(f'{hop} is named', does, 40)
    except RuntimeError as e:
        raise Wrong(f'{hop} is broken ({word}), and diagnose says {json.dumps(seen)[:900]}') from e


def well(c, name):
    c.until(f'{name} is well', lambda: diagnose(c, name)['healthy'], 40)


# ---- diagnose ----

def vmm_stands_still(c):
    make(c, 'd', restart='never')
    well(c, 'd')
    pid = parts(c, 'd')['vmm']
    os.kill(pid, signal.SIGSTOP)
    names(c, 'd', 'vmm', str(pid))
    os.kill(pid, signal.SIGCONT)
    well(c, 'd')


def vmm_is_dead(c):
    os.kill(parts(c, 'd')['vmm'], signal.SIGKILL)
    names(c, 'd', 'vmm', 'it does not run')
    drop(c, 'd')


def guest_is_paused(c):
    make(c, 'd')
    c.call('POST', '/v1/instances/d/actions/pause', {})
    names(c, 'd', 'guest', 'paused')
    drop(c, 'd')


def guest_has_ended(c):
    """By itself, and as somebody wanted."""
    c.call('POST', '/v1/instances', {'name': 'd', 'image': 'tiny', 'network': None, 'restart': 'never'})
    names(c, 'd', 'guest', 'switched itself off')
    drop(c, 'd')
    make(c, 'd')
    c.call('POST', '/v1/instances/d/actions/stop', {'force': True})
    names(c, 'd', 'guest', 'as asked')
    drop(c, 'd')


def offload_keeps_ending(c):
    """One end is over in milliseconds; one after another is told, until it has been quiet."""
    make(c, 'd')
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        pid = parts(c, 'd')['disks']
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # its next is not told yet
        doc = diagnose(c, 'd')
        if doc['first_unhealthy'] == 'offload' and parts(c, 'd') and get(c, 'd')['observed']['offload'][0]['restarts'] > 3:
            break
    names(c, 'd', 'offload', 'restarts')
    well(c, 'd')
    drop(c, 'd')


def passt_of(c, name):
    with open(f'/proc/{(pid := parts(c, name)["net"])}/task/{pid}/children', encoding='ascii') as f:
        return int(f.read().split()[0])


def passt_is_broken(c):
    """It stands still; it ends, and a new one comes."""
    make(c, 'd', network='default')
    well(c, 'd')
    pid = passt_of(c, 'd')
    os.kill(pid, signal.SIGSTOP)
    names(c, 'd', 'network', 'is stopped')
    os.kill(pid, signal.SIGCONT)
    well(c, 'd')
    net = parts(c, 'd')['net']
    os.kill(pid, signal.SIGKILL)
    c.until('another one came', lambda: parts(c, 'd')['net'] not in (0, net))
    well(c, 'd')
    drop(c, 'd')


def offload_stands_still(c):
    make(c, 'd')
    pid = parts(c, 'd')['disks']
    os.kill(pid, signal.SIGSTOP)
    names(c, 'd', 'offload', str(pid))
    os.kill(pid, signal.SIGCONT)
    well(c, 'd')
    drop(c, 'd')


def network_stands_still(c):
    make(c, 'd', network='default')
    pid = parts(c, 'd')['net']
    os.kill(pid, signal.SIGSTOP)
    names(c, 'd', 'network', str(pid))
    os.kill(pid, signal.SIGCONT)
    well(c, 'd')
    drop(c, 'd')


def volume_is_gone(c):
    c.call('POST', '/v1/volumes', {'name': 'v', 'size_mib': 8})
    make(c, 'd', disks=[{'volume': 'v'}])
    well(c, 'd')
    file = f'{c.folder}/node/node/volumes/{c.call("GET", "/v1/volumes/v")["id"]}.raw'
    os.rename(file, file + '.away')
    names(c, 'd', 'volume', 'v-')
    os.rename(file + '.away', file)
    well(c, 'd')
    drop(c, 'd')
    c.call('DELETE', '/v1/volumes/v')


def host_is_away(c):
    make(c, 'd')
    before = parts(c, 'd')
    for end in (signal.SIGKILL, signal.SIGTERM):
        c.node.send_signal(end)
        c.node.wait()
        names(c, 'd', 'host', 'here')
        expect(start_of(before['vmm']), f'the VMM ended with the node, by {end.name}')
        c.start_node()
        well(c, 'd')
        expect(parts(c, 'd') == before, f'{end.name}: {before} became {parts(c, "d")}')
    drop(c, 'd')


def nothing_fits(c):
    c.call('POST', '/v1/instances', {'name': 'd', 'image': 'spin', 'network': None, 'memory_mib': 1 << 20})
    names(c, 'd', 'control', 'MiB')
    drop(c, 'd')


# ---- the control plane is away ----

def control_is_away(c):
    make(c, 'a', restart='always', network='default')
    make(c, 'b', restart='never')
    before, quiet = parts(c, 'a'), parts(c, 'b')
    c.control.kill()
    c.control.wait()
    c.kept = None
    for part in ('vmm', 'disks', 'net'):
        try:
            os.kill(before[part], signal.SIGKILL)
        except ProcessLookupError:
            pass  # ended with the VMM
        ends = time.monotonic() + 60
        while start_of(before[part]) and time.monotonic() < ends:
            time.sleep(0.05)

    def replaced():
        mine = [line for pid, line in c.processes().items() if pid not in before.values()]
        return {'vmm', 'disk', 'net'} <= {'vmm' if '--kernel' in x else 'disk' if 'virtio-blk' in x else 'net' if 'virtio-net' in x else ''
                                          for x in mine}
    c.until('the node has started again what died', replaced)
    expect(start_of(quiet['vmm']), 'an instance ended without its control plane')
    c.start_control()
    c.until('the node is back', c.online)
    c.until('both run', lambda: all(get(c, n)['observed']['state'] == 'running' for n in 'ab'))
    expect(parts(c, 'b') == quiet, f'{quiet} became {parts(c, "b")}')
    now = parts(c, 'a')
    expect(not set(now.values()) & set(before.values()), f'{before} became {now}')
    for name, pids in (('a', now), ('b', quiet)):
        ident = get(c, name)['id']
        vmms = {pid for pid, x in c.processes().items() if '--kernel' in x and ident in x}
        vmms = {pid for pid in vmms if (start_of(pid) or (0,))[0] not in vmms}
        expect(vmms == {pids['vmm']}, f'{name}: {vmms} run, {pids["vmm"]} should')
    drop(c, 'a')
    drop(c, 'b')


# ---- a backup of before ----

def restored(c):
    """Made before the backup, and after it: both run on, with the processes that they have."""
    make(c, 'old')
    path = f'{c.folder}/backup.db'
    c.call('POST', '/v1/backup', {'path': path})
    c.until('the backup', lambda: os.path.exists(path) and os.path.getsize(path))
    make(c, 'new')
    before = {n: parts(c, n) for n in ('old', 'new')}
    ident = get(c, 'new')['id']
    c.control.terminate()
    c.control.wait()
    c.kept = None
    # A restored database with the images lost, too: what runs needs neither.
    os.rename(f'{c.folder}/control/unpacked', f'{c.folder}/unpacked')
    done = subprocess.run([c.polycloud, 'restore', '--data', f'{c.folder}/control', path], capture_output=True, text=True)
    expect(done.returncode == 0, f'restore: {done.stderr}')
    c.start_control()
    c.until('the node is back', c.online)
    c.until('both are there and run', lambda: {i['name']: i['observed']['state'] for i in c.every('instances')} ==
            {'old': 'running', 'new': 'running'})
    expect(get(c, 'new')['id'] == ident, 'the orphan has another id')
    expect({n: parts(c, n) for n in before} == before, f'{before} became {[parts(c, n) for n in before]}')
    for at in os.listdir(f'{c.folder}/unpacked'):
        os.rename(f'{c.folder}/unpacked/{at}', f'{c.folder}/control/unpacked/{at}')
    drop(c, 'old')
    drop(c, 'new')


# ---- each for itself ----

def status_of(pid):
    with open(f'/proc/{pid}/status', encoding='utf-8') as f:
        return dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)


def unprivileged(c):
    if os.getuid():
        return 'needs root, to start processes under uids of their own'
    for name in 'ab':
        make(c, name, network='default')
    uids = set()
    for name in 'ab':
        for part, pid in parts(c, name).items():
            s = status_of(pid)
            expect(s['CapEff'] == s['CapPrm'] == s['CapBnd'] == '0' * 16, f'{part} of {name}: {s["CapPrm"]} {s["CapBnd"]}')
            expect(s['NoNewPrivs'] == '1', f'{part} of {name} may gain privileges')
            uids.add(s['Uid'])
    expect(len(uids) == 6, f'six processes have {len(uids)} uids')
    for name in 'ab':
        drop(c, name)
    return None


TRY = '''
import os, socket, sys
bad = []
for path in sys.stdin.read().split('\\n'):
    try:
        if path.startswith('='):
            s = socket.socket(socket.AF_UNIX); s.connect(path[1:])
        else:
            os.close(os.open(path, os.O_RDWR if not os.path.isdir(path) else os.O_RDONLY))
        bad.append(path)
    except (PermissionError, IsADirectoryError):
        pass
    except (FileNotFoundError, ConnectionRefusedError, OSError) as e:
        bad.append(f'{path}: {e}') if e.errno not in (2, 111, 6) else None
print(*bad, sep='\\n')
'''


def nobody_elses(c):
    """As the VMM, and as the offload process, of one instance: all that is another's, or the cloud's."""
    if os.getuid():
        return 'needs root, to start processes under uids of their own'
    c.call('POST', '/v1/volumes', {'name': 'v', 'size_mib': 8})
    make(c, 'a', network='default')
    make(c, 'b', network='default')
    make(c, 'w', disks=[{'volume': 'v'}])
    theirs = [f'{c.folder}/node/node/instances/{get(c, "b")["id"]}', f'{c.folder}/node/node/instances/{get(c, "w")["id"]}',
              f'{c.folder}/node/node/volumes', f'{c.folder}/control']
    paths = [f'{c.folder}/token', f'{c.folder}/node/node/identity']
    for top in theirs:
        for at, folders, files in os.walk(top):
            paths += [f'{at}/{f}' for f in folders + files]
    paths += ['=' + p for p in paths if os.path.exists(p) and os.stat(p).st_mode & 0o170000 == 0o140000] + [f'={c.socket}']
    paths = [p for p in paths if os.path.basename(p) not in ('polyvisor', 'polyvisor-offload')]
    expect(len(paths) > 20, paths)
    for part, pid in parts(c, 'a').items():
        uid = int(status_of(pid)['Uid'].split()[0])
        # this one's own may lie where only its user may look
        done = subprocess.run([shutil.which('python3', path='/usr/bin:/bin') or sys.executable, '-c', TRY], input='\n'.join(paths), capture_output=True, text=True,
                              user=uid, group=uid, extra_groups=[])
        expect(done.returncode == 0, done.stderr)
        expect(not done.stdout.strip(), f'the {part} of another instance can open {done.stdout.split()[:6]}')
    for name in 'abw':
        drop(c, name)
    c.call('DELETE', '/v1/volumes/v')
    return None


def limited(c):
    """Each instance's processes in a group of their own, with limits."""
    why = c.call('GET', '/v1/hosts/here')['cgroup']
    if why != 'v2':
        return why
    make(c, 'd', network='default')
    for part, pid in parts(c, 'd').items():
        with open(f'/proc/{pid}/cgroup', encoding='ascii') as f:
            group = next(line[3:].strip() for line in f if line.startswith('0::'))
        expect(group.endswith('polycloud/' + get(c, 'd')['id']), f'{part} is in {group}')
    mounts = [line.split() for line in open('/proc/self/mountinfo', encoding='utf-8') if ' - cgroup2 ' in line]
    for name, least in (('memory.max', 64 << 20), ('pids.max', 16)):
        with open(f'{mounts[0][4]}{group}/{name}', encoding='ascii') as f:
            limit = f.read().strip()
        expect(limit != 'max' and least < int(limit) < least * 64, f'{name} is {limit}')
    drop(c, 'd')
    return None


def token_of_a_node(c):
    """Opens its own way in, and no other: each path of the API document."""
    with open(f'{c.folder}/token', encoding='utf-8') as f:
        secret = json.load(f)['token']
    doc = c.call('GET', '/v1/openapi.json')
    conn = http.client.HTTPSConnection('127.0.0.1', c.port, timeout=60, context=ssl._create_unverified_context())
    tried = 0
    for path, methods in doc['paths'].items():
        for method, what in methods.items():
            if path == '/v1/nodes/connect' or what.get('security') == [] or method not in ('get', 'post', 'put', 'patch', 'delete'):
                continue
            where = path.replace('{', '').replace('}', '')
            conn.request(method.upper(), where, '{}' if method in ('post', 'put', 'patch') else None,
                         {'Authorization': f'Bearer {secret}', 'Content-Type': 'application/json'})
            reply = conn.getresponse()
            text = reply.read()
            open_to_all = path in ('/v1/version', '/v1/openapi.json', '/v1/session') or not path.startswith('/v1/')
            expect(reply.status in (401, 403) or open_to_all, f'{method} {where}: {reply.status} {text[:200]}')
            tried += reply.status in (401, 403)
    expect(tried > 40, f'{tried} paths tried')


def request_id(c):
    """What a client calls its request is in the log of the VMM."""
    conn = http.client.HTTPConnection('localhost')
    c.call('GET', '/v1/version')
    conn.sock = c.kept.sock
    c.kept = None
    conn.request('POST', '/v1/instances', json.dumps({'name': 'd', 'image': 'spin', 'network': None}),
                 {'Content-Type': 'application/json', 'X-Request-Id': 'from-the-test-77'})
    reply = conn.getresponse()
    expect(reply.headers['X-Request-Id'] == 'from-the-test-77', reply.headers)
    reply.read()
    conn.close()
    c.until('d runs', lambda: get(c, 'd')['observed']['state'] == 'running')
    folder = f'{c.folder}/node/node/instances/{get(c, "d")["id"]}'
    found = subprocess.run(['grep', '-rlI', 'from-the-test-77', folder], capture_output=True, text=True).stdout.split()
    expect([f for f in found if f.endswith('.log')], f'it is in {found} only')
    drop(c, 'd')


TESTS = (vmm_stands_still, vmm_is_dead, guest_is_paused, guest_has_ended, offload_stands_still, offload_keeps_ending,
         network_stands_still, passt_is_broken, volume_is_gone, host_is_away, nothing_fits, control_is_away, restored,
         unprivileged, limited, nobody_elses, token_of_a_node, request_id)


def again(c):
    """After a test that failed half-way: both halves run, and nothing is there."""
    for name in ('control', 'node'):
        if getattr(c, name).poll() is not None:
            getattr(c, f'start_{name}')()
    c.kept = None
    c.until('the node is back', c.online)
    for pid in c.processes():
        os.kill(pid, signal.SIGCONT)
    for kind in ('instances', 'volumes'):
        for o in c.every(kind):
            if kind == 'instances':
                drop(c, o['name'])
            else:
                c.call('DELETE', f'/v1/volumes/{o["name"]}')


def main():
    c = Cloud()
    failed = 0
    try:
        c.start()
        c.image('spin', guest('spin'), 1 << 20)
        c.image('tiny', guest('tiny'))
        for f in TESTS:
            name = f.__name__.replace('_', ' ')
            if sys.argv[1:] and not any(w in name for w in sys.argv[1:]):
                continue
            try:
                why = f(c)
                print(f'skip {name}: {why}' if why else f'ok {name}', flush=True)
            except (Wrong, Answer, RuntimeError, OSError, KeyError, http.client.HTTPException) as e:
                failed += 1
                print(f'not ok {name}: {type(e).__name__}: {str(e)[:1200]}', flush=True)
                again(c)
    finally:
        c.close()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
