// SPDX-License-Identifier: Apache-2.0
// Making elements. Text is always text: nothing that came from the API is ever parsed as HTML.

export function h(tag, attrs, ...children) {
  const e = tag === 'svg' || tag === 'path'
    ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k === 'value') e.value = v;
    else e.setAttribute(k, v === true ? '' : v);
  }
  e.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false));
  return e;
}

export function toast(text, bad) {
  const e = h('div', { class: bad ? 'toast bad' : 'toast' }, text);
  document.getElementById('toasts').append(e);
  setTimeout(() => e.remove(), bad ? 9000 : 4000);
}

// A modal dialog; resolves with what `done` was called with, or null when it was left.
export function dialog(build) {
  const d = document.getElementById('dialog');
  return new Promise(resolve => {
    let result = null;
    const done = r => { result = r; d.close(); };
    d.replaceChildren(build(done));
    d.addEventListener('close', () => { d.replaceChildren(); resolve(result); }, { once: true });
    d.showModal();
  });
}

export function table(columns, rows) {
  return h('div', { class: 'table' }, h('table', {},
    h('thead', {}, h('tr', {}, columns.map(c => h('th', { scope: 'col', class: c.wide && 'wide' }, c.title)))),
    h('tbody', {}, rows.map(r => h('tr', {}, columns.map(c => h('td', { class: c.wide && 'wide' }, c.cell(r) ?? '')))))));
}

// A line of a graph out of numbers, the newest at the right.
export function spark(values, label) {
  const top = Math.max(...values, 1e-9), n = Math.max(values.length - 1, 1);
  const points = values.map((v, i) => `${(i * 100 / n).toFixed(2)},${(30 - v / top * 28).toFixed(2)}`).join('L');
  const svg = h('svg', { class: 'spark', viewBox: '0 0 100 31', preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
  if (values.length > 1) svg.append(h('path', { class: 'area', d: `M0,31L${points}L100,31Z` }), h('path', { d: `M${points}` }));
  return svg;
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${n >= 100 || i === 0 ? n.toFixed(0) : n.toFixed(1)} ${units[i]}`;
}
