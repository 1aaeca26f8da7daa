# SPDX-License-Identifier: Apache-2.0
"""How a cloud's connections end: a token that is revoked ends what it opened, and SIGTERM ends polycloud cleanly whatever is
open. The first argument is the polycloud to try, best one built with sanitizers: then what is freed too early, or never, is
seen as well. Prints a line for each, as the other tests do."""
import http.client
import json
import socket
import sys
import time

from cloud_api import Client, Wrong, until
from cloud_rig import CHIP, Answer, Cloud, guest


def expect(true, what):
    if not true:
        raise Wrong(what)


def ended(s, seconds=10):
    """Reads until the other end closes, or says that a body of chunks is over."""
    s.settimeout(seconds)
    data = b'\r\n'
    try:
        while not data.endswith(b'\r\n0\r\n\r\n'):
            more = s.recv(65536)
            if not more:
                return
            data = data[-8:] + more
    except OSError as e:
        raise Wrong(f'it is still open: {e}') from None


def follow(client):
    s = client.plain()
    token = f'Authorization: Bearer {client.token}\r\n' if client.token else ''
    s.sendall(f'GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{token}\r\n'.encode())
    until('the stream of events begins', lambda: b'200' in s.recv(65536))
    return s


def client_of(c, name, tls, **more):
    doc = c.call('POST', '/v1/tokens', {'name': name, **more})
    return Client(('127.0.0.1', c.port) if tls else c.socket, doc['token'])


def revoked(c):
    """Events and consoles of a revoked token end at once; those of others go on."""
    other = client_of(c, 'other', True, role='project', project='default')
    stays = follow(other)
    for tls in (False, True):
        client = client_of(c, 'gone', tls, role='project', project='default')
        console = client.websocket('/v1/instances/one/console')
        console.read_until(b'spinning')
        events, raw = follow(client), client.raw('/v1/instances/one/console')[0]
        c.call('DELETE', '/v1/tokens/gone')
        for s in (events, raw):
            ended(s)
            s.close()
        until('the WebSocket is closed', lambda: console.frame()[0] in (None, 8))
        expect(client.ask('GET', '/v1/instances').status == 401, 'the token is still good')
    c.call('PATCH', '/v1/instances/one', {'labels': {'a': 'b'}})
    stays.settimeout(10)
    expect(stays.recv(4096), 'the events of another token ended with it')
    stays.close()
    c.call('DELETE', '/v1/tokens/other')


def revoked_node(c):
    """A node whose token is revoked is out, what it runs goes on, and a new token lets it in again."""
    pid = c.call('GET', '/v1/instances/one')['observed']['pid']
    c.call('DELETE', '/v1/tokens/node')
    c.until('the node is out', lambda: not c.online())
    time.sleep(1)
    expect(not c.online(), 'it came in again')
    c.node.terminate()
    expect(c.node.wait(30) == 0, f'node ended with {c.node.returncode}: {c.tail("node")}')
    doc = c.call('POST', '/v1/tokens', {'name': 'node', 'role': 'node', 'host': 'here'})
    with open(f'{c.folder}/token', encoding='utf-8') as f:
        kept = json.load(f)
    with open(f'{c.folder}/token', 'w', encoding='utf-8') as f:
        json.dump({**kept, 'token': doc['token']}, f)
    c.start_node()
    c.until('the node', c.online)
    expect(c.call('GET', '/v1/instances/one')['observed']['pid'] == pid, 'the instance was started anew')


def busy(c, tls):
    """One of each kind of connection, open at the same time."""
    where = ('127.0.0.1', c.port) if tls else c.socket
    doc = c.call('POST', '/v1/tokens', {'name': f'busy-{time.monotonic_ns()}', 'role': 'admin'})
    client = Client(where, doc['token'])
    held = [follow(client), client.websocket('/v1/instances/one/console'), client.raw('/v1/instances/one/console')[0]]
    auth = f'Host: x\r\nAuthorization: Bearer {doc["token"]}\r\n'
    for text in ('GET /v1/instances/one/info HTTP/1.1\r\n' + auth + '\r\n',  # the node is asked
                 'GET /v1/instances/one/diagnose HTTP/1.1\r\n' + auth + '\r\n',
                 'PUT /v1/images/half/upload?chip=' + CHIP + '&part=root HTTP/1.1\r\n' + auth + 'Content-Length: 9999999\r\n\r\nhalf',
                 'POST /v1/instances HTTP/1.1\r\n' + auth + 'Content-Length: 500\r\n\r\n{"name',
                 'GET /v1/inst'):
        s = client.plain()
        s.sendall(text.encode())
        held.append(s)
    if tls:
        held.append(socket.create_connection(where))  # says nothing
    return held


def terminated(c):
    """SIGTERM with all that open: status 0, and the instance runs on."""
    pid = c.call('GET', '/v1/instances/one')['observed']['pid']
    for again in range(3):
        held = busy(c, False) + busy(c, True)
        c.call('PUT', f'/v1/images/import-{again}/upload?chip={CHIP}&part=root&guest=bare-metal', bytes(32 << 20))
        c.call('POST', '/v1/images', {'name': f'import-{again}', 'source': {'upload': True}, 'guest': 'bare-metal'})  # goes on
        first, second = (c.control, c.node) if again % 2 else (c.node, c.control)
        first.terminate()
        expect(first.wait(60) == 0, f'ended with {first.returncode}: {c.tail("control")} {c.tail("node")}')
        if first is c.node:  # whose away is news for those who wait
            time.sleep(0.2)
        second.terminate()
        expect(second.wait(60) == 0, f'ended with {second.returncode}: {c.tail("control")} {c.tail("node")}')
        for s in held:
            s.close()
        c.start()
        c.until('it runs on', lambda: c.call('GET', '/v1/instances/one')['observed']['pid'] == pid)


def main():
    c = Cloud(*sys.argv[1:2])
    failed = 0
    try:
        c.start()
        c.image('spin', guest('spin'), 1 << 20)
        c.call('POST', '/v1/instances', {'name': 'one', 'image': 'spin', 'network': None, 'memory_mib': 64})
        c.until('one runs', lambda: c.call('GET', '/v1/instances/one')['observed']['state'] == 'running')
        for f in (revoked, revoked_node, terminated):
            name = f.__doc__.split(':')[0].split(';')[0].rstrip('.')
            try:
                f(c)
                print(f'ok {name}', flush=True)
            except (Wrong, Answer, RuntimeError, OSError, KeyError, http.client.HTTPException) as e:
                failed += 1
                print(f'not ok {name}: {type(e).__name__}: {str(e)[:1200]}', flush=True)
    finally:
        c.close()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
