# SPDX-License-Identifier: Apache-2.0
"""tools/soak cloud-kill. Each step asks the API for something and now and then kills the control plane, the node, a VMM
or an offload process by SIGKILL; every so often, and at the end, what runs must be exactly what is wanted: no
instance doubled, lost or leaked, and after the last is deleted nothing is there that was not there before."""
import collections
import http.client
import os
import signal
import uuid

from cloud_rig import Answer, Cloud, guest
from processes import start_of

VOLUMES = ('red', 'green', 'blue')
SETTLE = 25  # steps between looking whether everything has come true


class CloudKill:
    """cloud-kill: operations on a control plane and a node, with random SIGKILLs of control, node, VMMs and offload
    processes; what is wanted must come true, and nothing may be left behind"""

    def __init__(self, binary):
        self.cloud = Cloud(programs=os.path.dirname(binary))
        self.holds = {}  # name -> the volume that it has
        self.wanted = {}  # name -> 'running' | 'stopped' | 'paused'
        self.steps = self.made = 0
        self.counts = collections.Counter()  # operations, and kills that hit something; for the result
        self.cloud.start()
        self.cloud.image('spin', guest('spin'), 1 << 20)
        for v in VOLUMES:
            self.sure('POST', '/v1/volumes', {'name': v, 'size_mib': 16})
        disks = [{'volume': v} for v in VOLUMES]  # a volume is made where it is first used
        self.sure('POST', '/v1/instances', {'name': 'first', 'image': 'spin', 'network': None, 'disks': disks})
        self.wanted['first'] = 'running'
        self.settle()
        self.delete('first')
        self.settle()
        self.before = self.cloud.inventory()  # with the image's blobs on the node

    def dead(self):
        return False

    def sure(self, method, path, body=None):
        """Calls until there is an answer: the control plane may be killed at any moment, and the same
        Idempotency-Key makes the same thing once."""
        key = uuid.uuid4().hex
        done = []

        def once():
            try:
                done.append(self.cloud.call(method, path, body, key))
            except Answer as e:
                # a DELETE whose answer was lost has been done
                if not (method == 'DELETE' and e.status == 404):
                    if e.status >= 500:
                        raise
                    done.append(e)
            return True
        self.revive()
        self.cloud.until(f'{method} {path}', once)
        if done and isinstance(done[0], Answer) and done[0].status != 409:
            raise done[0]

    def revive(self):
        for name in ('control', 'node'):
            p = getattr(self.cloud, name)
            if p.poll() is not None:
                p.wait()
                getattr(self.cloud, f'start_{name}')()

    def vmms(self):
        """pid -> command line. The child by which a VMM would start processes, if it had to, is not one."""
        found = {pid: line for pid, line in self.cloud.processes().items()
                 if os.path.basename(line.split()[0]) == 'polyvisor' and '--api-socket' in line}
        return {pid: line for pid, line in found.items() if (start_of(pid) or (0,))[0] not in found}

    def kill(self, rng):
        what = rng.choice(['control', 'node', 'vmm', 'offload'])
        if what in ('control', 'node'):
            p = getattr(self.cloud, what)
            self.counts[f'kill {what}'] += 1
            p.send_signal(signal.SIGKILL)
            p.wait()
            return
        pids = list(self.vmms()) if what == 'vmm' else [
            pid for pid, line in self.cloud.processes().items() if os.path.basename(line.split()[0]) == 'polyvisor-offload']
        if pids:
            try:
                os.kill(rng.choice(pids), signal.SIGKILL)
                self.counts[f'kill {what}'] += 1
            except ProcessLookupError:
                pass

    def delete(self, name):
        self.sure('DELETE', f'/v1/instances/{name}')
        self.counts['delete'] += 1
        del self.wanted[name]
        if self.holds.pop(name, None):
            self.cloud.until(f'{name} is gone, and its volume is free', lambda: self.gone(name))

    def gone(self, name):
        self.revive()
        return name not in [i['name'] for i in self.cloud.every('instances')]

    def operate(self, rng):
        names = sorted(self.wanted)
        action = rng.choice(['create', 'create', 'delete', 'stop', 'start', 'reboot', 'pause', 'resume'])
        if action == 'create' or not names:
            if len(names) >= 6:
                action = 'delete'
            else:
                self.made += 1
                name = f'i{self.made}'
                free = [v for v in VOLUMES if v not in self.holds.values()]
                disks = [{'volume': rng.choice(free)}] if free and rng.random() < 0.5 else []
                self.sure('POST', '/v1/instances', {'name': name, 'image': 'spin', 'network': rng.choice([None, 'default']),
                                                    'restart': 'always', 'cpus': 1, 'memory_mib': 64, 'disks': disks})
                self.counts['create with volume' if disks else 'create'] += 1
                self.wanted[name] = 'running'
                self.holds.update({name: d['volume'] for d in disks})
                return
        name = rng.choice(names)
        path = f'/v1/instances/{name}'
        if action == 'delete':
            self.delete(name)
            return
        now = self.wanted[name]
        if (action, now) in (('pause', 'stopped'), ('resume', 'stopped'), ('reboot', 'stopped'), ('reboot', 'paused'),
                             ('resume', 'running'), ('start', 'paused')):
            return
        # by force: this guest has no ear for a power button, and would be given 30 s
        self.sure('POST', f'{path}/actions/{action}', {'force': True} if action == 'stop' else {})
        self.counts[action] += 1
        self.wanted[name] = {'stop': 'stopped', 'start': 'running', 'reboot': 'running', 'pause': 'paused', 'resume': 'running'}[action]

    def true(self):
        """Whether what is observed, and what this machine runs, is what is wanted."""
        items = {i['name']: i for i in self.cloud.every('instances')}
        self.lacks = {n: items.get(n, {}).get('observed', {}).get('state') for n, s in self.wanted.items()
                      if items.get(n, {}).get('observed', {}).get('state') != s}
        self.lacks.update({n: 'still there' for n in items if n not in self.wanted})
        vmms = list(self.vmms().values())
        for name, state in self.wanted.items():
            ident = items.get(name, {}).get('id')
            n = sum(1 for x in vmms if ident and ident in x)
            if n != (0 if state == 'stopped' else 1):
                self.lacks[name] = f'{n} VMMs while {state} is wanted'
        if len(vmms) != sum(s != 'stopped' for s in self.wanted.values()):
            self.lacks['VMMs'] = len(vmms)
        return not self.lacks

    def settle(self):
        self.revive()
        try:
            self.cloud.until('what is wanted', self.true, 120)
        except RuntimeError as e:
            raise RuntimeError(f'{self.lacks}: {e}') from e

    def step(self, rng):
        self.steps += 1
        try:
            if rng.random() < 0.3:
                self.kill(rng)
            self.operate(rng)
            if self.steps % SETTLE == 0:
                self.settle()
        except (RuntimeError, Answer, OSError, http.client.HTTPException) as e:
            return str(e)
        return None

    def finish(self):
        """After the last step: everything is deleted, and the inventory is what it was before."""
        try:
            self.settle()
            for name in list(self.wanted):
                self.delete(name)
            self.settle()
            same = []

            def as_before():
                same[:] = [k for k, v in self.cloud.inventory().items() if v != self.before[k]]
                return not same
            try:
                self.cloud.until('the inventory of before', as_before, 30)
            except RuntimeError:
                after = self.cloud.inventory()
                return '; '.join(f'{k}: {self.before[k]} before, {after[k]} after' for k in same)[:800]
        except (RuntimeError, Answer) as e:
            return str(e)
        return None

    def close(self):
        self.cloud.close()
