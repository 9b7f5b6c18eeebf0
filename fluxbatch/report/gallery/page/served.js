"use strict";
// What a server adds to the page: jobs come on request, changes as they happen. A connection that was lost begins anew
// with all jobs, so that nothing has to be remembered for those who were away.
FLUXBATCH.learn({
  en: { lostTouch: "Connection lost; trying again …", closed: "This page is not served any more, or its link is no longer valid. Open the link that was printed last." },
  zh: { lostTouch: "连接中断，正在重试……", closed: "此页面已停止服务，或链接已失效。请打开最近输出的链接。" },
});
FLUXBATCH.served = (() => {
  const { jobs } = FLUXBATCH;
  const RETRY_MS = 3000, PLOTS_MS = 5000;
  const hearers = new Map();
  let source = null, loading = null, again = false, begun = false, over = false, early = [], onTouch = () => {}, onFirst = () => {};

  // Ask for something to be done; an answer that isn't well is an error with the server's own words.
  async function post(door, facts = {}) {
    const response = await fetch(door, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(facts) });
    const said = await response.json().catch(() => ({}));
    if (!response.ok) throw Object.assign(new Error(said.error || `HTTP ${response.status}`), { said });
    return said;
  }
  async function get(address) {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response;
  }
  async function read() {
    const [text, about] = [await (await get("jobs")).text(), await (await get("about")).json()];
    const all = text.split("\n").filter(Boolean).flatMap((line) => JSON.parse(line));
    jobs.splice(0, jobs.length);
    FLUXBATCH.add(all);
    if (begun) FLUXBATCH.page.renew(about); else { begun = true; FLUXBATCH.begin(about); onFirst(about); }
    for (const told of early.splice(0)) change(told);
  }
  // One reading at a time; what changes meanwhile comes after it, since it may be older than what was read.
  function load() {
    if (loading) { again = true; return; }
    loading = read().then(() => { loading = null; onTouch(""); if (again) { again = false; load(); } },
      () => { loading = null; again = false; if (!over) { onTouch("lostTouch"); setTimeout(load, RETRY_MS); } });
  }
  const KEPT = ["id", "prompt", "inputs", "meta", "place", "haystack"];
  function change(entries) {
    if (!begun) return;
    const changed = new Set();
    for (const entry of entries) {
      const job = FLUXBATCH.page.job(entry.id);
      if (!job) continue;
      for (const name of Object.keys(job)) if (!KEPT.includes(name)) delete job[name];
      Object.assign(job, entry);
      changed.add(job);
    }
    FLUXBATCH.page.changed(changed);
    for (const hear of hearers.get("changed") || []) hear([...changed]);
  }
  function connect() {
    source?.close();
    source = new EventSource("events");
    source.addEventListener("open", load);
    source.addEventListener("resync", load);
    source.addEventListener("jobs", ({ data }) => { const told = JSON.parse(data); if (loading) early.push(told); else change(told); });
    for (const [name, all] of hearers) source.addEventListener(name, ({ data }) => { for (const hear of all) hear(JSON.parse(data)); });
    source.addEventListener("error", () => {
      const refused = source.readyState === EventSource.CLOSED;
      onTouch(refused ? "closed" : "lostTouch");
      if (refused) setTimeout(() => { if (source.readyState === EventSource.CLOSED && !document.hidden) connect(); }, RETRY_MS);
    });
  }
  // A tab that nobody sees holds no connection: browsers have six for a host.
  document.addEventListener("visibilitychange", () => { if (over) return; if (document.hidden) source?.close(); else connect(); });
  setInterval(() => {
    if (begun && !over && !document.hidden && document.getElementById("summary").open) get("about").then((answer) => answer.json()).then((about) => FLUXBATCH.page.plot(about.timeline), () => {});
  }, PLOTS_MS);
  return {
    post, get, change, connect,
    hear(name, told) { hearers.set(name, [...(hearers.get(name) || []), told]); },
    touch(told) { onTouch = told; },
    first(told) { onFirst = told; },
    end() { over = true; source.close(); },
  };
})();
