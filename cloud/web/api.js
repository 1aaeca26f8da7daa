// SPDX-License-Identifier: Apache-2.0
// The REST API with a bearer token, which lives as long as the tab. The address of the console may hold a
// one-time token (#token=…); it is exchanged at once and taken out of the address.

const KEY = 'polycloud-token';
let token = sessionStorage.getItem(KEY);

export class Problem extends Error {
  constructor(status, doc) {
    super(doc.detail || doc.title || `status ${status}`);
    this.status = status;
    this.doc = doc;
  }
}

export const loggedIn = () => token !== null;
export function logout() { token = null; sessionStorage.removeItem(KEY); }

export async function login(secret) {
  const r = await fetch('v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token: secret }) });
  const doc = await r.json().catch(() => ({}));
  if (!r.ok) throw new Problem(r.status, doc);
  token = doc.token;
  sessionStorage.setItem(KEY, token);
}

export async function tokenOfAddress() {
  const m = location.hash.match(/token=([A-Za-z0-9_-]+)/);
  if (!m) return;
  history.replaceState(null, '', location.pathname + '#/');
  await login(m[1]);
}

const headers = more => ({ Authorization: `Bearer ${token}`, ...more });

export async function call(method, path, body) {
  const more = body === undefined ? {} : { 'Content-Type': 'application/json' };
  if (method === 'POST') more['Idempotency-Key'] = crypto.randomUUID();
  const r = await fetch(path.replace(/^\//, ''), { method, headers: headers(more),
    body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await r.text();
  let doc = {};
  try { doc = text ? JSON.parse(text) : {}; } catch { doc = { detail: text.slice(0, 200) }; }
  if (r.status === 401) logout();
  if (!r.ok) throw new Problem(r.status, doc);
  return doc;
}

export async function text(path) {
  const r = await fetch(path.replace(/^\//, ''), { headers: headers() });
  if (!r.ok) throw new Problem(r.status, await r.json().catch(() => ({})));
  return r.text();
}

export async function list(kind, query = '') {
  const items = [];
  let page = '';
  do {
    const doc = await call('GET', `/v1/${kind}?limit=500${query}${page}`);
    items.push(...doc.items);
    page = doc.next ? `&page=${encodeURIComponent(doc.next)}` : '';
  } while (page && items.length < 5000);
  return items;
}

// Events as they come (SSE over fetch, which can carry the token); takes up again where it was cut.
export async function follow(onEvent, onState) {
  let last = null;
  for (;;) {
    if (!token) return;
    try {
      const r = await fetch('v1/events', { headers: headers(last ? { 'Last-Event-ID': last } : {}) });
      if (!r.ok) throw new Problem(r.status, {});
      onState(true);
      const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).replaceAll('\r', '').split('\n\n');
        rest = parts.pop();
        for (const part of parts) {
          let data = '';
          for (const line of part.split('\n')) {
            if (line.startsWith('id:')) last = line.slice(3).trim();
            if (line.startsWith('data:')) data += line.slice(5).trim();
          }
          if (data) onEvent(JSON.parse(data));
        }
      }
    } catch (e) { if (e.status === 401) { logout(); location.reload(); return; } }
    onState(false);
    await new Promise(done => setTimeout(done, 2000));
  }
}

export function socket(path) {
  const url = new URL(path.replace(/^\//, ''), location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = '';
  const s = new WebSocket(url, ['polycloud-stream', `bearer.${token}`]);
  s.binaryType = 'arraybuffer';
  return s;
}
