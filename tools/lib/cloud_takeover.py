# SPDX-License-Identifier: Apache-2.0
"""Who has what when parts of a cloud are gone, with two nodes on this machine's own KVM: a volume is never open for
writing twice, a host that is away keeps what it has until an operator fences it, and a backup that is made while
instances come and go is restored without one doubled or lost. Prints a line for each, as the other tests do."""
import http.client
import json
import os
import signal
import subprocess
import sys
import threading

from cloud_faults import Wrong, drop, expect, get, make, parts
from cloud_rig import Answer, Cloud, Unix, guest
from processes import start_of


class Two(Cloud):
    """A second node beside the first, `second`, below the same folder."""
    second = None

    def start_second(self):
        path = f'{self.folder}/token2'
        if not os.path.exists(path):
            made = self.call('POST', '/v1/tokens', {'name': 'node2', 'role': 'node', 'host': 'second'})
            with open(f'{self.folder}/token', encoding='utf-8') as f:
                doc = {**json.load(f), 'token': made['token']}
            with open(path, 'w', encoding='utf-8', opener=lambda p, f: os.open(p, f, 0o600)) as f:
                json.dump(doc, f)
        self.second = self.spawn('second', 'node', '--name', 'second', '--control', f'https://127.0.0.1:{self.port}',
                                 '--token-file', path, '--data', f'{self.folder}/second')
        self.until('the second node', lambda: self.state('second') != 'offline')

    def state(self, host):
        try:
            return self.call('GET', f'/v1/hosts/{host}')['state']
        except Answer:
            return 'offline'  # not known yet

    def processes(self):
        return {pid: line for pid, line in super().processes().items() if not self.second or pid != self.second.pid}

    def vmms(self, name_or_id):
        """{pid: command line} of the VMMs of one instance, on whichever node; a VMM's own children are not counted."""
        ident = get(self, name_or_id)['id']
        found = {pid: line for pid, line in self.processes().items() if f'/instances/{ident}/' in line and '--kernel' in line}
        return {pid: line for pid, line in found.items() if (start_of(pid) or (0,))[0] not in found}

    def close(self):
        if self.second and self.second.poll() is None:
            self.second.terminate()
            self.second.wait(30)
        super().close()


def refuses(c, status, method, path, body=None):
    try:
        doc = c.call(method, path, body)
    except Answer as e:
        expect(e.status == status, f'{method} {path}: {e}')
        return str(e)
    raise Wrong(f'{method} {path}: {doc} where {status} is due')


def writers(volume_id):
    """Processes that have the file of a volume open for writing."""
    found = set()
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            for fd in os.listdir(f'/proc/{pid}/fd'):
                if f'/volumes/{volume_id}.raw' not in os.readlink(f'/proc/{pid}/fd/{fd}'):
                    continue
                with open(f'/proc/{pid}/fdinfo/{fd}', encoding='utf-8') as f:
                    flags = int(next(line for line in f if line.startswith('flags:')).split()[1], 8)
                if flags & os.O_ACCMODE != os.O_RDONLY:
                    found.add(int(pid))
        except (OSError, StopIteration):
            continue  # it has ended
    return found


def act(c, path, action, body=None):
    return c.call('POST', f'{path}/actions/{action}', body or {})


def end(process, sig):
    process.send_signal(sig)
    process.wait()


# ---- one host ----

def one_writer(c):
    """Another instance gets a volume when the first one is gone, with the next generation, and not before."""
    v = c.call('POST', '/v1/volumes', {'name': 'v', 'size_mib': 8})['id']
    make(c, 'a', disks=[{'volume': 'v'}])
    first = c.call('GET', '/v1/volumes/v')
    expect(len(writers(v)) == 1, f'{writers(v)} write it')
    for body in ({'disks': [{'volume': 'v'}]}, {'disks': [{'volume': 'v'}], 'host': 'here'}):
        refuses(c, 409, 'POST', '/v1/instances', {'name': 'b', 'image': 'spin', 'network': None, **body})
    refuses(c, 409, 'DELETE', '/v1/volumes/v')
    os.kill(parts(c, 'a')['disks'], signal.SIGKILL)
    c.until('one has taken over', lambda: len(writers(v)) == 1 and parts(c, 'a')['disks'] in writers(v))
    drop(c, 'a')
    expect(not writers(v), f'{writers(v)} still write it')
    make(c, 'b', disks=[{'volume': 'v'}])
    then = c.call('GET', '/v1/volumes/v')
    expect(then['generation'] > first['generation'], f'{first} became {then}')
    expect(len(writers(v)) == 1, f'{writers(v)} write it')
    drop(c, 'b')
    c.call('DELETE', '/v1/volumes/v')
    c.until('the volume is gone', lambda: not c.every('volumes'))


# ---- a host that is away ----

def on_second(c, name, **more):
    act(c, '/v1/hosts/here', 'cordon')
    make(c, name, **more)
    act(c, '/v1/hosts/here', 'uncordon')
    expect(get(c, name)['host'] == 'second', get(c, name))


def fencing(c):
    """The second node is killed; its instances run on there and start nowhere else, until it is fenced. When it comes
    back what it has no right to any more is ended there, and what has its data there goes on."""
    c.start_second()
    try:
        v = c.call('POST', '/v1/volumes', {'name': 'v', 'size_mib': 8})['id']
        on_second(c, 'free', restart='always')
        on_second(c, 'data', restart='always', disks=[{'volume': 'v'}])
        refuses(c, 409, 'POST', '/v1/hosts/second/actions/fence', {'confirm': True})  # it is connected
        before = {n: set(c.vmms(n)) for n in ('free', 'data')}
        writer = writers(v)
        expect(all(before.values()) and len(writer) == 1, f'{before} {writer}')
        end(c.second, signal.SIGKILL)
        c.until('it is offline', lambda: c.state('second') == 'offline')
        stay_away(c, v, before, writer)
        end(c.control, signal.SIGKILL)  # and a control plane that knows nothing but its documents does no other
        c.start_control()
        c.until('the first node is back', c.online)
        c.until('both are unknown', lambda: all(get(c, n)['observed']['state'] == 'unknown' for n in before))
        stay_away(c, v, before, writer)
        refuses(c, 400, 'POST', '/v1/hosts/second/actions/fence', {'confirm': False})
        act(c, '/v1/hosts/second', 'fence', {'confirm': True})
        c.until('free runs on the first', lambda: get(c, 'free')['host'] == 'here' and get(c, 'free')['observed']['state'] == 'running')
        c.until('data has failed', lambda: get(c, 'data')['observed']['state'] == 'failed')
        expect('fenced' in get(c, 'data')['observed']['reason'], get(c, 'data')['observed'])
        expect(writers(v) == writer and set(c.vmms('data')) == before['data'], 'data has moved away from its volume')
        new = set(c.vmms('free')) - before['free']
        c.start_second()  # what the operator said was not true: it still runs all
        expect(c.state('second') == 'fenced', c.state('second'))
        c.until('what it has no right to is ended', lambda: set(c.vmms('free')) == new)
        act(c, '/v1/hosts/second', 'uncordon')
        c.until('data runs', lambda: get(c, 'data')['observed']['state'] == 'running')
        expect(set(c.vmms('data')) == before['data'] and writers(v) == writer, 'data was started a second time')
        drop(c, 'free')
        drop(c, 'data')
        c.call('DELETE', '/v1/volumes/v')
        c.until('nothing is left', lambda: not c.every('volumes') and not c.processes())
    finally:
        if c.second.poll() is None:
            end(c.second, signal.SIGTERM)
    c.until('it is offline', lambda: c.state('second') == 'offline')
    c.call('DELETE', '/v1/hosts/second')


def stay_away(c, v, before, writer):
    """Whatever is asked for meanwhile, nothing of theirs starts on the first node."""
    refuses(c, 409, 'POST', '/v1/instances', {'name': 'thief', 'image': 'spin', 'network': None, 'disks': [{'volume': 'v'}]})
    for name in before:
        for action in ('reboot', 'start'):
            try:
                act(c, f'/v1/instances/{name}', action)
            except Answer as e:
                expect(e.status == 409, e)
    make(c, 'other')  # the reconciler is at work, for others
    drop(c, 'other')
    for name, pids in before.items():
        expect(set(c.vmms(name)) == pids and get(c, name)['host'] == 'second', f'{name}: {pids} became {c.vmms(name)}')
    expect(writers(v) == writer, f'{writer} wrote the volume, now {writers(v)}')


# ---- no control plane ----

def reboots_of(c, ident):
    """How often a guest rebooted by itself, as its VMM's log says."""
    with open(f'{c.folder}/node/node/instances/{ident}/vmm.log', encoding='utf-8', errors='replace') as f:
        return sum('the guest reboots' in line for line in f)


def goes_on_alone(c):
    """While the control plane is away a guest reboots again and again in its VMM, a VMM that is killed is started again,
    one that may not be restarted is not; all this is counted, told afterwards, and nothing is started twice."""
    c.image('loops', guest('reset-loop'), 1 << 20)
    make(c, 'loops', image='loops', network='default')
    make(c, 'killed', restart='always')
    make(c, 'over', restart='never')
    ident = {n: get(c, n)['id'] for n in ('loops', 'killed', 'over')}
    before = {n: parts(c, n) for n in ident}
    c.until('the guest reboots', lambda: reboots_of(c, ident['loops']) > 0)
    end(c.control, signal.SIGKILL)
    c.kept = None
    seen = reboots_of(c, ident['loops'])
    for name in ('killed', 'over'):
        os.kill(before[name]['vmm'], signal.SIGKILL)
    running = lambda name: {pid for pid, x in c.processes().items()  # noqa: E731
                            if f'/instances/{ident[name]}/' in x and '--kernel' in x and start_of(pid)}
    c.until('it is started again', lambda: running('killed') - {before['killed']['vmm']})
    c.until('the guest goes on rebooting', lambda: reboots_of(c, ident['loops']) >= seen + 20)
    c.start_control()
    c.until('the node is back', c.online)
    c.until('the rest is told', lambda: [get(c, n)['observed']['state'] for n in ident] == ['running', 'running', 'crashed'])
    expect(parts(c, 'loops') == before['loops'], f'{before["loops"]} became {parts(c, "loops")}')
    o = get(c, 'killed')['observed']
    expect(o['restarts'] == 1 and set(c.vmms('killed')) == {o['pid']}, f'{o} {c.vmms("killed")}')
    expect(not running('over'), 'what is never to be restarted was')
    for name in ident:
        drop(c, name)


# ---- a backup under load ----

class Load(threading.Thread):
    """Creates and deletes until it is told to end, over a connection of its own."""

    def __init__(self, c):
        super().__init__(daemon=True)
        self.socket, self.done, self.made, self.wrong = c.socket, threading.Event(), 0, None

    def ask(self, conn, method, path, body=None):
        conn.request(method, path, json.dumps(body) if body else None, {'Content-Type': 'application/json'})
        reply = conn.getresponse()
        text = reply.read()
        if reply.status >= 300:
            raise Wrong(f'{method} {path}: {reply.status} {text[:300]!r}')

    def run(self):
        conn = Unix(self.socket)
        try:
            while not self.done.is_set():
                self.made += 1
                self.ask(conn, 'POST', '/v1/instances', {'name': f'l{self.made}', 'image': 'spin', 'network': None, 'memory_mib': 64})
                if self.made > 2:
                    self.ask(conn, 'DELETE', f'/v1/instances/l{self.made - 2}')
        except (Wrong, OSError, http.client.HTTPException) as e:
            self.wrong = e


def backup_under_load(c):
    make(c, 'stays')
    load = Load(c)
    load.start()
    path = None
    try:
        for i in range(3):
            enough = load.made + 4
            c.until('some were made', lambda n=enough: load.made >= n or load.wrong)
            path = f'{c.folder}/under-load-{i}.db'
            c.call('POST', '/v1/backup', {'path': path})
        enough = load.made + 4
        c.until('some were made after it', lambda: load.made >= enough or load.wrong)
    finally:
        load.done.set()
        load.join(60)
    expect(not load.wrong, load.wrong)
    c.until('what is wanted has come', lambda: sorted(i['observed']['state'] for i in c.every('instances')) == ['running'] * 3)
    running = {i['id']: i['observed']['pid'] for i in c.every('instances')}
    end(c.control, signal.SIGKILL)
    c.kept = None
    os.mkdir(f'{c.folder}/new', 0o700)
    # A control plane on another machine has the database, its certificate and the images: docs/cloud.md.
    for at in os.listdir(f'{c.folder}/control'):
        if not at.startswith('polycloud.db') and not at.endswith('.db') and '.db-' not in at:
            os.rename(f'{c.folder}/control/{at}', f'{c.folder}/new/{at}')
    done = subprocess.run([c.polycloud, 'restore', '--data', f'{c.folder}/new', path], capture_output=True, text=True)
    expect(done.returncode == 0, f'restore: {done.stderr}')
    os.rename(f'{c.folder}/control', f'{c.folder}/old')
    os.rename(f'{c.folder}/new', f'{c.folder}/control')
    c.start_control()
    c.until('the node is back', c.online)

    def all_there():
        items = {i['id']: i['observed'] for i in c.every('instances')}
        return all(items.get(i, {}).get('pid') == pid and items[i]['state'] == 'running' for i, pid in running.items()) \
            and all(o['state'] == 'running' for o in items.values())
    c.until('all that ran runs, and what the backup knew', all_there)
    for i in c.every('instances'):
        own = set(c.vmms(i['id']))
        expect(own == {i['observed']['pid']}, f'{i["name"]}: {own} run, {i["observed"]["pid"]} should')
    every = {i['name'] for i in c.every('instances')}
    expect(len(every) == len(c.every('instances')), 'two have one name')
    for name in every:
        drop(c, name)
    c.until('no process is left', lambda: not c.processes())


TESTS = (one_writer, fencing, goes_on_alone, backup_under_load)


def main():
    c = Two(*sys.argv[1:2])
    failed = 0
    try:
        c.start()
        c.image('spin', guest('spin'), 1 << 20)
        for f in TESTS:
            name = f.__name__.replace('_', ' ')
            try:
                f(c)
                print(f'ok {name}', flush=True)
            except (Wrong, Answer, RuntimeError, OSError, KeyError, http.client.HTTPException) as e:
                failed += 1
                print(f'not ok {name}: {type(e).__name__}: {str(e)[:1200]}', flush=True)
                break  # what is left of it would be in the way of the next
    finally:
        c.close()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
