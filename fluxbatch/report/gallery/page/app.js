"use strict";
// The grid: only the tiles that are seen, and a row around them, are in the document.
FLUXBATCH.begin = (about) => {
  const { jobs, say, make } = FLUXBATCH;
  const at = (id) => document.getElementById(id);
  const grid = at("grid"), room = at("room"), dialog = at("detail"), search = at("search");
  const HIGH = 318, GAP = 12, NARROWEST = 230;
  const byId = new Map(), followers = new Map(), tiles = new Map();
  let found = jobs, chosen = 0, columns = 1, returnTo = grid;

  jobs.forEach((job, place) => {
    job.place = place;
    job.haystack = `${job.id}\n${job.prompt || ""}`.toLowerCase();
    byId.set(job.id, job);
    for (const input of job.inputs) if (input.kind === "job") followers.set(input.job, [...(followers.get(input.job) || []), job]);
  });
  const counted = (of) => { const counts = new Map(); for (const job of jobs) { const key = of(job); if (key) counts.set(key, (counts.get(key) || 0) + 1); } return [...counts].sort((a, b) => b[1] - a[1]); };
  const statuses = new Map(counted((job) => job.status)), reasons = counted((job) => job.error?.code), models = counted((job) => job.model);
  const flags = ["size", "blank", "same_as_input", "same_as_output"].map((flag) => [flag, jobs.filter((job) => job.flags?.[flag]).length]), flagged = jobs.filter((job) => job.flags).length;
  const ORDERS = { order: (a, b) => a.place - b.place, id: (a, b) => a.id < b.id ? -1 : 1, cost: (a, b) => (b.cost_usd || 0) - (a.cost_usd || 0), attempts: (a, b) => (b.attempts || 0) - (a.attempts || 0), age: (a, b) => (b.url_age_s || 0) - (a.url_age_s || 0) };

  function fill(id, word, options) {
    const select = at(id), before = select.value;
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
    select.value = before || options[0][0];
    select.setAttribute("aria-label", say(word));
  }
  function write() {
    document.documentElement.lang = FLUXBATCH.language === "zh" ? "zh-Hans" : "en";
    document.title = `${about.out} – fluxbatch`;
    at("title").textContent = about.out + (about.simulated ? ` (${say("simulated")})` : "");
    const unknown = jobs.reduce((sum, job) => sum + (job.unknown_charges || 0), 0);
    at("counts").textContent = say("counts", jobs.length, statuses.get("stored") || 0, statuses.get("failed") || 0, statuses.get("pending") || 0, FLUXBATCH.usd(jobs.reduce((sum, job) => sum + (job.cost_usd || 0), 0))) + (unknown ? say("unknown", unknown) : "");
    at("counts").title = say("written", new Date(about.at * 1000).toLocaleString());
    at("language").textContent = say("other");
    document.querySelector("[data-word]").textContent = say("summary");
    search.placeholder = say("search");
    search.setAttribute("aria-label", say("search"));
    grid.setAttribute("aria-label", say("grid"));
    fill("status", "status", ["all", "stored", "failed", "pending"].map((status) => [status === "all" ? "" : status, `${say(status)} (${status === "all" ? jobs.length : statuses.get(status) || 0})`]));
    fill("reason", "reason", [["", say("anyReason")], ...reasons.map(([code, count]) => [code, `${code} (${count})`])]);
    fill("flag", "flag", [["", say("anyFlag")], ["any", `${say("flagged")} (${flagged})`], ...flags.filter(([, count]) => count).map(([flag, count]) => [flag, `${say(`flag_${flag}`)} (${count})`])]);
    at("flag").hidden = !flagged;
    fill("model", "model", [["", say("anyModel")], ...models.map(([name, count]) => [name, `${name} (${count})`])]);
    fill("sort", "sort", Object.keys(ORDERS).map((order) => [order, say(order)]));
    at("plots").replaceChildren(...FLUXBATCH.plots(about.timeline));
  }
  function choose() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), status = at("status").value, reason = at("reason").value, flag = at("flag").value, model = at("model").value;
    found = jobs.filter((job) => (!status || job.status === status) && (!reason || job.error?.code === reason) && (!flag || (flag === "any" ? job.flags : job.flags?.[flag])) && (!model || job.model === model) && words.every((word) => job.haystack.includes(word)));
    found.sort(ORDERS[at("sort").value]);
    chosen = 0;
    at("shown").textContent = found.length ? say("shown", found.length, jobs.length) : say("none");
    for (const tile of tiles.values()) tile.remove();
    tiles.clear();
    draw();
  }
  function face(job) {
    if (job.thumb) return make("div", { class: "face" }, make("img", { src: job.thumb, alt: `${say("output")}: ${job.id}`, decoding: "async" }));
    return make("div", { class: `face ${job.status}`, text: job.error ? job.error.code : say(job.status) });
  }
  function badge(job) {
    return job.flags ? [make("span", { class: "badge", text: `⚑ ${Object.keys(job.flags).map((flag) => say(`flag_${flag}`)).join(", ")}` })] : [];
  }
  function small(input, place) {
    const known = input.kind === "job" ? byId.get(input.job) : input;
    return known?.thumb ? make("img", { src: known.thumb, alt: `${say("input", place + 1)}: ${input.ref}` }) : make("span", { text: input.kind === "url" ? "URL" : input.ref.slice(0, 40) });
  }
  function tileOf(job, place) {
    const prompt = (job.prompt || "").slice(0, 200);
    const tile = make("div", { class: "tile", role: "option", id: `tile-${place}`, "aria-posinset": place + 1, "aria-setsize": found.length, "aria-label": `${job.id}, ${say(job.status)}${job.error ? `, ${job.error.code}` : ""}${Object.keys(job.flags || {}).map((flag) => `, ${say(`flag_${flag}`)}`).join("")}` },
      face(job), ...badge(job), make("div", { class: "inputs" }, ...job.inputs.map(small)),
      make("div", { class: "words" }, make("b", { text: job.id, dir: "auto" }), make("span", { class: "prompt", text: prompt, dir: "auto" }), make("span", { class: "facts", text: `${job.model} · $${FLUXBATCH.usd(job.cost_usd)} · ${job.attempts || 0}×` })));
    tile.addEventListener("click", () => { chosen = place; open(job); });
    return tile;
  }
  function draw() {
    const wide = grid.clientWidth;
    columns = Math.max(1, Math.floor((wide + GAP) / (NARROWEST + GAP)));
    const width = (wide - GAP * (columns - 1)) / columns, row = HIGH + GAP;
    room.style.height = `${Math.ceil(found.length / columns) * row}px`;
    const top = -grid.getBoundingClientRect().top;
    const from = Math.max(0, Math.floor(top / row) - 1) * columns, to = Math.min(found.length, (Math.ceil((top + innerHeight) / row) + 1) * columns);
    for (const [place, tile] of tiles) if (place < from || place >= to) { tile.remove(); tiles.delete(place); }
    for (let place = from; place < to; place++) {
      let tile = tiles.get(place);
      if (!tile) { tile = tileOf(found[place], place); tiles.set(place, tile); room.append(tile); }
      Object.assign(tile.style, { width: `${width}px`, height: `${HIGH}px`, left: `${place % columns * (width + GAP)}px`, top: `${Math.floor(place / columns) * row}px` });
      tile.setAttribute("aria-selected", String(place === chosen && document.activeElement === grid));
    }
    if (tiles.has(chosen)) grid.setAttribute("aria-activedescendant", `tile-${chosen}`); else grid.removeAttribute("aria-activedescendant");
  }
  function move(to) {
    chosen = Math.max(0, Math.min(found.length - 1, to));
    const top = Math.floor(chosen / columns) * (HIGH + GAP) + grid.getBoundingClientRect().top;
    if (top < 60) scrollBy(0, top - 60); else if (top + HIGH > innerHeight) scrollBy(0, top + HIGH + GAP - innerHeight);
    draw();
  }
  function step(by) {
    const next = found[chosen + by];
    if (next) { chosen += by; open(next); }
  }
  function open(job) {
    if (!dialog.open) returnTo = document.activeElement;
    FLUXBATCH.detail(dialog, job, { byId, followers, open, step });
  }
  const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns, ArrowDown: () => columns, Home: () => -chosen, End: () => found.length };
  addEventListener("keydown", (event) => {
    const field = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog.open) {
      if (!field && event.key === "ArrowLeft") step(-1);
      if (!field && event.key === "ArrowRight") step(1);
    } else if (event.key === "/" && !field) { search.focus(); event.preventDefault(); }
    else if (event.target === search && event.key === "Escape") { search.value = ""; choose(); grid.focus({ preventScroll: true }); }
    else if (event.target === search && (event.key === "Enter" || event.key === "ArrowDown")) { grid.focus({ preventScroll: true }); move(0); event.preventDefault(); }
    else if (event.target === grid && event.key === "Enter" && found[chosen]) { open(found[chosen]); event.preventDefault(); } // else it would press what gets the focus
    else if (event.target === grid && STEPS[event.key]) { move(chosen + STEPS[event.key]()); event.preventDefault(); }
  });
  dialog.addEventListener("close", () => { grid.focus({ preventScroll: true }); if (returnTo === search) search.focus(); move(chosen); });
  for (const id of ["status", "reason", "flag", "model", "sort"]) at(id).addEventListener("change", choose);
  search.addEventListener("input", choose);
  for (const event of ["focus", "blur"]) grid.addEventListener(event, draw);
  at("language").addEventListener("click", () => { FLUXBATCH.language = FLUXBATCH.language === "zh" ? "en" : "zh"; write(); choose(); });
  at("summary").addEventListener("toggle", draw);
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", draw);
  write();
  choose();
};
