"use strict";
// The grid: only the tiles that are seen, and a row around them, are in the document.
FLUXBATCH.begin = (about) => {
  const { jobs, say, make } = FLUXBATCH;
  const at = (id) => document.getElementById(id);
  const grid = at("grid"), room = at("room"), dialog = at("detail"), search = at("search");
  const HIGH = 318, GAP = 12, NARROWEST = 230;
  const byId = new Map(), followers = new Map(), tiles = new Map();
  let found = jobs, chosen = 0, columns = 1, returnTo = grid, shown = null;

  function index() {
    byId.clear();
    followers.clear();
    jobs.forEach((job, place) => {
      job.place = place;
      job.haystack = `${job.id}\n${job.prompt || ""}`.toLowerCase();
      byId.set(job.id, job);
      for (const input of job.inputs) if (input.kind === "job") followers.set(input.job, [...(followers.get(input.job) || []), job]);
    });
  }
  const counted = (of) => { const counts = new Map(); for (const job of jobs) { const key = of(job); if (key) counts.set(key, (counts.get(key) || 0) + 1); } return [...counts].sort((a, b) => b[1] - a[1]); };
  const FLAGS = ["size", "blank", "same_as_input", "same_as_output"];
  let statuses, reasons, models, flags, flagged;
  function count() {
    statuses = new Map(counted((job) => job.status));
    reasons = counted((job) => job.error?.code);
    models = counted((job) => job.model);
    flags = FLAGS.map((flag) => [flag, jobs.filter((job) => job.flags?.[flag]).length]);
    flagged = jobs.filter((job) => job.flags).length;
  }
  const ORDERS = { order: (a, b) => a.place - b.place, id: (a, b) => a.id < b.id ? -1 : 1, cost: (a, b) => (b.cost_usd || 0) - (a.cost_usd || 0), attempts: (a, b) => (b.attempts || 0) - (a.attempts || 0), age: (a, b) => (b.url_age_s || 0) - (a.url_age_s || 0) };

  function fill(id, word, options) {
    const select = at(id), before = select.value, filled = JSON.stringify(options);
    select.setAttribute("aria-label", say(word));
    if (select.filled === filled || select === document.activeElement && select.filled) return; // not under someone's hand
    select.filled = filled;
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
    select.value = before;
    if (select.selectedIndex < 0) select.value = options[0][0];
  }
  function write() {
    count();
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
    for (const written of FLUXBATCH.written) written();
  }
  const plot = () => at("plots").replaceChildren(...FLUXBATCH.plots(about.timeline));
  function find() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), status = at("status").value, reason = at("reason").value, flag = at("flag").value, model = at("model").value;
    found = jobs.filter((job) => (!status || job.status === status) && (!reason || job.error?.code === reason) && (!flag || (flag === "any" ? job.flags : job.flags?.[flag])) && (!model || job.model === model) && words.every((word) => job.haystack.includes(word)) && FLUXBATCH.filters.every((passes) => passes(job)));
    found.sort(ORDERS[at("sort").value]);
    at("shown").textContent = found.length ? say("shown", found.length, jobs.length) : say("none");
  }
  function choose() {
    find();
    chosen = 0;
    for (const tile of tiles.values()) tile.remove();
    tiles.clear();
    draw();
  }
  function face(job) {
    if (job.thumb) {
      const image = make("img", { src: job.thumb, alt: `${say("output")}: ${job.id}`, decoding: "async" });
      image.addEventListener("error", () => image.replaceWith(say("noPicture")), { once: true });
      return make("div", { class: "face" }, image);
    }
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
    const prompt = (job.prompt || "").slice(0, 200), badges = FLUXBATCH.badges.flatMap((badges) => badges(job));
    const tile = make("div", { class: "tile", role: "option", id: `tile-${place}`, "aria-posinset": place + 1, "aria-setsize": found.length, "aria-label": `${job.id}, ${say(job.status)}${job.error ? `, ${job.error.code}` : ""}${Object.keys(job.flags || {}).map((flag) => `, ${say(`flag_${flag}`)}`).join("")}` },
      face(job), ...badge(job), make("div", { class: "inputs" }, ...job.inputs.map(small)),
      make("div", { class: "words" }, make("b", { text: job.id, dir: "auto" }), make("span", { class: "prompt", text: prompt, dir: "auto" }), make("span", { class: "facts", text: `${job.model} · $${FLUXBATCH.usd(job.cost_usd)} · ${job.attempts || 0}×` })), ...badges);
    if (badges.length) tile.setAttribute("aria-label", [tile.getAttribute("aria-label"), ...badges.map((badge) => badge.title)].join(", "));
    tile.job = job;
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
    for (let place = to - 1, after = null; place >= from; place--) { // backwards, so that they stand in the document in their order
      let tile = tiles.get(place);
      if (!tile) { tile = tileOf(found[place], place); tiles.set(place, tile); room.insertBefore(tile, after); }
      after = tile;
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
    shown = job;
    FLUXBATCH.detail(dialog, job, { byId, followers, open, step });
  }
  // Jobs have changed while the page is open: what is chosen stays chosen, tiles of others stay as they are.
  function again(changed) {
    const before = found[chosen]?.id;
    write();
    find();
    const now = found.findIndex((job) => job.id === before);
    chosen = now >= 0 ? now : Math.max(0, Math.min(chosen, found.length - 1));
    for (const [place, tile] of tiles) if (tile.job !== found[place] || !changed || changed.has(tile.job)) { tile.remove(); tiles.delete(place); }
    draw();
    const job = byId.get(shown?.id);
    if (dialog.open && job && (!changed || changed.has(job))) open(job);
  }
  FLUXBATCH.page = {
    open, step, dialog, job: (id) => byId.get(id), chosen: () => dialog.open ? byId.get(shown.id) : found[chosen],
    changed: again,
    renew(news) { about = news; index(); again(null); plot(); },
    plot(timeline) { about.timeline = timeline; plot(); },
    fill, choose, next: () => dialog.open ? step(1) : move(chosen + 1),
    show(job) { const now = found.indexOf(job); if (now >= 0) chosen = now; if (dialog.open) open(job); else move(chosen); },
  };
  const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: () => -columns, ArrowDown: () => columns, Home: () => -chosen, End: () => found.length };
  addEventListener("keydown", (event) => {
    const field = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = (event.target === grid || dialog.open && (!field || event.target.type === "range")) && FLUXBATCH.keys[event.key];
    if (act && FLUXBATCH.page.chosen()) { act(FLUXBATCH.page.chosen()); event.preventDefault(); }
    else if (dialog.open) {
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
  at("language").addEventListener("click", () => { FLUXBATCH.language = FLUXBATCH.language === "zh" ? "en" : "zh"; write(); plot(); choose(); });
  at("summary").addEventListener("toggle", draw);
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", draw);
  index();
  write();
  plot();
  choose();
};
