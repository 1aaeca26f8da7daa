// SPDX-License-Identifier: Apache-2.0
// What the console knows of the fleet: loaded once, then kept true by events. An event names what
// changed; that one object is read again, so that the page never guesses.
import * as api from './api.js';

const KINDS = ['instances', 'hosts', 'images', 'volumes', 'networks', 'flavors', 'keys'];
export const store = Object.fromEntries(KINDS.map(k => [k, new Map()]));
export const recent = [];
export let isLive = false;
const listeners = new Set();

export const onChange = f => { listeners.add(f); return () => listeners.delete(f); };
export const all = kind => [...store[kind].values()];
export const find = (kind, name) => all(kind).find(o => o.name === name || o.id === name);

let queued = false;
export function changed() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; for (const f of [...listeners]) f(); });
}

export async function load(kind) {
  try {
    const items = await api.list(kind);
    store[kind].clear();
    for (const o of items) store[kind].set(o.id, o);
  } catch (e) { if (e.status !== 403) throw e; } // a project's token sees no hosts
  changed();
}

const pending = new Map();
function refresh(kind, id) {
  const key = `${kind}/${id}`;
  if (pending.has(key)) return;
  pending.set(key, setTimeout(async () => {
    pending.delete(key);
    try { store[kind].set(id, await api.call('GET', `/v1/${kind}/${encodeURIComponent(id)}`)); } catch (e) {
      if (e.status === 404) store[kind].delete(id);
    }
    changed();
  }, 150));
}

export async function begin() {
  await Promise.all(KINDS.map(load));
  api.follow(event => {
    recent.unshift(event);
    recent.length = Math.min(recent.length, 500);
    const kind = `${event.kind}s`;
    if (kind in store && event.id) refresh(kind, event.id);
    changed();
  }, async live => {
    if (live && !isLive) for (const k of KINDS) load(k).catch(() => {});
    isLive = live;
    changed();
  });
  // Load and free memory of hosts come with their heartbeats, which are no events.
  setInterval(() => { if (!document.hidden && api.loggedIn()) load('hosts').catch(() => {}); }, 10000);
}
