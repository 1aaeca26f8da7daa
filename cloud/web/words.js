// SPDX-License-Identifier: Apache-2.0
// What the console says, in English and Chinese.

const WORDS = {
  skip: ['Skip to the content', '跳到正文'], fleet: ['Fleet', '总览'], instances: ['Instances', '实例'],
  images: ['Images', '镜像'], volumes: ['Volumes', '云盘'], networks: ['Networks', '网络'], hosts: ['Hosts', '主机'],
  events: ['Events', '事件'], login: ['Log in', '登录'], logout: ['Log out', '退出'], token: ['Token', '令牌'],
  loginHelp: ['Paste a token. Make one with:', '请粘贴令牌。可用以下命令生成：'], live: ['live', '实时'],
  reconnecting: ['reconnecting…', '正在重新连接…'], dark: ['Dark', '深色'], light: ['Light', '浅色'],
  create: ['Create instance', '创建实例'], name: ['Name', '名称'], image: ['Image', '镜像'], chip: ['Chip', '芯片'],
  any: ['any', '不限'], flavor: ['Size', '规格'], state: ['State', '状态'], host: ['Host', '主机'], ip: ['Address', '地址'],
  created: ['Created', '创建时间'], reason: ['Reason', '原因'], none: ['Nothing here yet.', '暂无内容。'],
  start: ['Start', '启动'], stop: ['Stop', '停止'], reboot: ['Reboot', '重启'], pause: ['Pause', '暂停'],
  resume: ['Resume', '恢复'], delete: ['Delete', '删除'], cancel: ['Cancel', '取消'], console: ['Console', '控制台'],
  log: ['Log', '日志'], overview: ['Overview', '概况'], diagnose: ['Diagnose', '诊断'], filter: ['Filter', '筛选'],
  sure: ['Delete {0} and everything on it?', '确定删除 {0} 及其全部数据？'], cores: ['Cores', '核'], memory: ['Memory', '内存'],
  load: ['Load', '负载'], kvm: ['KVM', 'KVM'], version: ['Version', '版本'], cordon: ['Cordon', '停止调度'],
  uncordon: ['Uncordon', '恢复调度'], drain: ['Drain', '腾空'], size: ['Size', '大小'], attached: ['Attached to', '挂载于'],
  cidr: ['Range', '网段'], platforms: ['Chips', '芯片'], digest: ['Digest', '摘要'], cpu: ['CPU', 'CPU'],
  disk: ['Disk', '磁盘'], network: ['Network', '网络'], keys: ['SSH keys', 'SSH 密钥'], userData: ['User data (cloud-init)', '用户数据 (cloud-init)'],
  ports: ['Published ports, as 8080:80', '发布端口，如 8080:80'], whyNot: ['Where would it run?', '会在哪台主机上运行？'],
  nothingFits: ['No host fits.', '没有合适的主机。'], chosen: ['It would run on {0}.', '将在 {0} 上运行。'],
  allGood: ['Every hop is healthy.', '各环节均正常。'], firstBad: ['The first unhealthy hop: {0}', '第一个异常环节：{0}'],
  closed: ['[the console was closed; press a key to connect again]', '[控制台已断开，按任意键重新连接]'],
  noHosts: ['No host has joined.', '尚无主机加入。'], free: ['{0} of {1} in use', '已用 {0} / {1}'], when: ['Time', '时间'],
  what: ['What', '内容'], who: ['Who', '操作者'], features: ['CPU features', 'CPU 特性'], model: ['CPU', 'CPU 型号'],
  ssh: ['To log in:', '登录命令：'], instancesHere: ['{0} instances', '{0} 个实例'], protected: ['protected', '防删除'],
  pending: ['pending', '等待中'], scheduled: ['scheduled', '已调度'], preparing: ['preparing', '准备中'], starting: ['starting', '启动中'],
  running: ['running', '运行中'], paused: ['paused', '已暂停'], stopping: ['stopping', '停止中'], stopped: ['stopped', '已停止'],
  crashed: ['crashed', '已崩溃'], failed: ['failed', '失败'], unknown: ['unknown', '未知'], deleting: ['deleting', '删除中'],
  online: ['online', '在线'], offline: ['offline', '离线'], cordoned: ['cordoned', '停止调度'], draining: ['draining', '腾空中'],
  fenced: ['fenced', '已隔离'], available: ['available', '可用'], ready: ['ready', '就绪'],
};

let lang = localStorage.getItem('polycloud-lang') || (navigator.language.startsWith('zh') ? 'zh' : 'en');
export const language = () => lang;
export function setLanguage(l) { lang = l; localStorage.setItem('polycloud-lang', l); }
export function t(key, ...args) {
  const w = WORDS[key] && WORDS[key][lang === 'zh' ? 1 : 0] || key || '';
  return w.replace(/\{(\d)\}/g, (_, i) => args[i]);
}
export function ago(time) {
  const s = (Date.now() - Date.parse(time)) / 1000, f = new Intl.RelativeTimeFormat(lang, { numeric: 'auto', style: 'narrow' });
  if (Number.isNaN(s)) return '';
  for (const [unit, n] of [['day', 86400], ['hour', 3600], ['minute', 60]]) if (s >= n) return f.format(-Math.floor(s / n), unit);
  return f.format(-Math.max(0, Math.floor(s)), 'second');
}
