# SPDX-License-Identifier: Apache-2.0
"""Who may see and do what, endpoint by endpoint out of the OpenAPI document: another project's objects are not there
(404, and in no list or stream), what is the administrator's is refused (403), and without a good token nothing is
answered (401). Over TLS, whose certificate has the fingerprint that tokens carry."""
import json
import re

from cloud_api import Client, Wrong, until

OPEN = ('/v1/session', '/v1/nodes/connect', '/v1/version', '/v1/openapi.json')  # open to all, or checked apart
KINDS = ('instances', 'images', 'volumes', 'networks', 'ports', 'keys', 'operations')
# What a project's token may do without naming an object.
COMMON = {('GET', f'/v1/{k}') for k in KINDS} | {('POST', f'/v1/{k}') for k in KINDS} | {
    ('GET', '/v1/flavors'), ('GET', '/v1/flavors/{id}'), ('GET', '/v1/version'), ('GET', '/v1/openapi.json'),
    ('GET', '/v1/events'), ('POST', '/v1/schedule'), ('GET', '/v1/projects'), ('GET', '/v1/whoami')}


def expect(what, why):
    if not what:
        raise Wrong(str(why))


def endpoints(doc):
    for path, item in sorted(doc['paths'].items()):
        for method in item:
            if method in ('get', 'post', 'put', 'patch', 'delete') and path not in OPEN and path.startswith('/v1/'):
                yield method.upper(), path


def token(up, **body):
    return up.api.post('/v1/tokens', {'name': f'iso-{body["role"]}-{body.get("project", "x")}', **body}, 201).doc


def theirs(up):
    """An object of each kind in project secret."""
    ask = lambda kind, body: up.api.post(f'/v1/{kind}?project=secret', body, 201).doc  # noqa: E731
    made = {'networks': ask('networks', {'name': 'hidden'}), 'volumes': ask('volumes', {'name': 'hidden', 'size_mib': 1}),
            'keys': ask('keys', {'name': 'hidden', 'public_key': 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkHvQu1DJfMJbJCbWEY4sLc2BjYqhI3Z3Dqk2yq0JqQ'})}
    with open(up.hidden_kernel, 'rb') as f:
        up.api.put(f'/v1/images/hidden/upload?project=secret&chip={up.chip}&part=kernel&guest=bare-metal', f.read())
    up.api.post('/v1/images?project=secret', {'name': 'hidden', 'source': {'upload': True}, 'guest': 'bare-metal'})
    made['images'] = until('the hidden image', lambda: up.api.get('/v1/images/hidden?project=secret').doc)
    made['instances'] = ask('instances', {'name': 'hidden', 'image': 'hidden', 'network': None, 'state': 'stopped'})
    operations = up.api.get('/v1/operations?project=secret').doc['items']
    if operations:
        made['operations'] = operations[0]
    return made


def fill(path, ident):
    """The path with an object's id, and words that are right elsewhere."""
    path = re.sub(r'\{(id|name|image|instance|volume|network|key|project|token|host|flavor|pool|operation|port)\}', ident, path, count=1)
    path = path.replace('{action}', 'stop').replace('{host_port}', '8080').replace('{port}', '80')
    return re.sub(r'\{[^}]*\}', 'x', path)


def body_for(method, path):
    bodies = {'/ports': {'host_port': 8080, 'guest_port': 80}}
    if method in ('PATCH', 'PUT'):
        return {'labels': {}}
    return next((b for end, b in bodies.items() if path.endswith(end)), None) if method == 'POST' else None


def status_of(client, method, path, body):
    if path.endswith(('/console', '/tunnel')):
        s, status, _, left = client.upgrade(path + ('?port=22' if path.endswith('tunnel') else ''), 'polycloud-stream')
        s.close()
        return status, left
    reply = client.ask(method, path + ('?chip=x86_64&part=kernel' if path.endswith('/upload') else ''), body)
    return reply.status, reply.raw


def hidden_objects(up, client, made, doc):
    """Everything that names another's object says 404, by its id and by its name."""
    count = 0
    for method, path in endpoints(doc):
        kind = path.split('/')[2]
        if '{' not in path or kind not in made or path.endswith('/upload'):
            continue
        for word in (made[kind]['id'], made[kind].get('name') or made[kind]['id']):
            at = fill(path, word)
            status, raw = status_of(client, method, at, body_for(method, path))
            expect(status == 404, f'{method} {at}: {status} {raw[:200]!r}, and not 404')
            count += 1
    expect(count > 20, f'only {count} endpoints name an object')


def hidden_lists(up, client, made, doc):
    ids = [o['id'] for o in made.values()]
    for method, path in endpoints(doc):
        if method != 'GET' or '{' in path:
            continue
        for more in ('', '?project=secret', '?project=default'):
            query = more + ('&follow=0' if more else '?follow=0') if path == '/v1/events' else more
            reply = client.ask('GET', path + query)
            text = reply.raw.decode(errors='replace')
            shown = [w for w in (*ids, '"secret"') if w in text]
            expect(not shown, f'GET {path}{query} shows {shown}: {text[max(0, text.find((shown or [""])[0]) - 150):][:300]}')
    for _, event in client.events(last=0, seconds=1):
        expect(event.get('project') in ('open', None), f'an event of another project: {event}')


def administrators(up, client, doc):
    """What is not the project's is refused, and does nothing."""
    before = up.api.get('/v1/projects').raw
    for method, path in endpoints(doc):
        kind = path.split('/')[2]
        if (method, path) in COMMON or kind in KINDS or path in ('/v1/openapi.json', '/v1/version'):
            continue
        status, raw = status_of(client, method, fill(path, 'default'), None)
        expect(status in (401, 403, 404), f'{method} {path} by a project: {status} {raw[:200]!r}')
    expect(up.api.get('/v1/projects').raw == before, 'the projects have changed')


def nobody(at, doc, fingerprint):
    """Without a token, and with wrong ones."""
    clients = [Client(at, t, fingerprint) for t in (None, 'pv_' + 'A' * 43, '', 'x' * 4000)]
    for method, path in endpoints(doc):
        for client in clients[:1] if '{' in path else clients:
            status, raw = status_of(client, method, fill(path, 'default'), None)
            expect(status in (401, 431, 400) if len(client.token or '') > 1000 else status == 401,
                   f'{method} {path} without a token: {status} {raw[:200]!r}')


def others(up, at, doc):
    """A node's token opens nothing but its connection; one that was used, has expired or is deleted, nothing."""
    node = token(up, role='node', host='nowhere')
    client = Client(at, node['token'])
    for method, path in endpoints(doc):
        if '{' not in path and path not in ('/v1/version', '/v1/openapi.json'):
            status, raw = status_of(client, method, path, None)
            expect(status in (401, 403), f'{method} {path} by a node: {status} {raw[:200]!r}')
    once = token(up, role='admin', once=True)
    first = Client(at).ask('POST', '/v1/session', {'token': once['token']})
    expect(first.status in (200, 201) and first.doc.get('token'), f'/v1/session: {first}')
    expect(Client(at, first.doc['token']).ask('GET', '/v1/hosts').status == 200, 'the session is no token')
    again = Client(at).ask('POST', '/v1/session', {'token': once['token']})
    expect(again.status in (401, 403), f'a one-time token worked twice: {again}')
    expect(Client(at, once['token']).ask('GET', '/v1/hosts').status == 401, 'a one-time token is a bearer token')
    up.api.delete(f'/v1/tokens/{node["id"]}')
    expect(client.ask('GET', '/v1/flavors').status == 401, 'a deleted token works')
    stored = b''.join(open(f'{up.folder}/{f}', 'rb').read() for f in up.databases())
    for secret in (node['token'], once['token'], first.doc['token']):
        expect(secret.encode() not in stored, 'a token is in the database in the clear')
    expect(node['token'] not in up.api.get('/v1/tokens').raw.decode(), 'a list shows secrets')


def run(up):
    doc = up.api.get('/v1/openapi.json').doc
    up.api.post('/v1/projects', {'name': 'secret'}, 201)
    up.api.post('/v1/projects', {'name': 'open'}, 201)
    made = theirs(up)
    mine = token(up, role='project', project='open')
    at = ('127.0.0.1', up.port)
    client = Client(at, mine['token'], mine.get('fingerprint'))
    expect(client.get('/v1/instances').doc['items'] == [], 'a new project has instances')
    client.post('/v1/networks', {'name': 'hidden'}, 201)  # a name of its own
    expect(client.ask('POST', '/v1/networks', {'name': 'x', 'project': 'secret'}).status >= 400, 'a project of another')
    client.delete('/v1/networks/hidden')
    thief = {'name': 'thief', 'image': 'hidden', 'network': None}
    client.post('/v1/instances', thief, 400, 404, 409, 422)
    try:
        hidden_objects(up, client, made, doc)
        hidden_lists(up, client, made, doc)
        administrators(up, client, doc)
        nobody(at, doc, mine.get('fingerprint'))
        others(up, at, doc)
        expect(json.dumps(up.api.get('/v1/instances/hidden?project=secret').doc['desired']), 'the hidden one is gone')
    finally:
        clean(up, made)


def clean(up, made):
    up.api.delete('/v1/projects/secret', 409)  # it has something
    for kind in ('instances', 'volumes', 'networks', 'keys', 'images'):
        up.api.delete(f'/v1/{kind}/{made[kind]["id"]}?project=secret')
    for kind in ('instances', 'volumes'):
        until(f'{kind} are gone', lambda k=kind: up.api.get(f'/v1/{k}?project=secret').doc['items'] == [])
    for t in up.api.get('/v1/tokens').doc['items']:
        if t['name'].startswith('iso-'):
            up.api.delete(f'/v1/tokens/{t["id"]}')
    for name in ('secret', 'open'):
        up.api.delete(f'/v1/projects/{name}')
