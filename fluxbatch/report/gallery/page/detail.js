"use strict";
// One job, large: side by side or swiped, its chain, and all that is known of it.
FLUXBATCH.detail = (() => {
  const { say, make } = FLUXBATCH;
  let view = "side";

  // The image itself; its small picture where the browser can't show or reach that.
  function picture(of, label) {
    const image = make("img", { src: of.href, alt: label });
    image.addEventListener("error", () => { if (of.thumb) image.src = of.thumb; }, { once: true });
    return image;
  }
  function sources(job, byId) {
    return job.inputs.map((input) => input.kind === "job" ? { ...input, href: byId.get(input.job)?.href, thumb: byId.get(input.job)?.thumb } : input);
  }
  function side(job, inputs) {
    const all = inputs.map((input, at) => {
      const label = `${say("input", at + 1)}: ${input.ref}`;
      return make("figure", {}, ...(input.href ? [picture(input, label)] : []), make("figcaption", { text: input.kind === "url" ? `${label} (${say("fromUrl")})` : label }));
    });
    for (const one of job.earlier || []) all.push(make("figure", { class: "earlier" }, picture(one, one.label), make("figcaption", { text: one.label })));
    if (job.href) all.push(make("figure", {}, picture(job, `${say("output")}: ${job.id}`), make("figcaption", { text: `${say("output")}: ${job.at || job.file}` })));
    return make("div", { class: "side" }, ...all);
  }
  function swipe(job, input) {
    const above = picture(job, `${say("output")}: ${job.id}`), line = make("div", { class: "line" });
    const range = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": say("swipeAt") });
    const place = () => { above.style.clipPath = `inset(0 0 0 ${range.value}%)`; line.style.left = `${range.value}%`; };
    range.addEventListener("input", place);
    place();
    const stage = make("div", { class: "swipe" }, picture(input, input.label || say("input", 1)), above, line);
    const drag = (event) => { if (event.buttons || event.type === "pointerdown") { const box = stage.getBoundingClientRect(); range.value = (event.clientX - box.left) / box.width * 100; place(); event.preventDefault(); } };
    stage.addEventListener("pointerdown", drag);
    stage.addEventListener("pointermove", drag);
    return make("div", {}, stage, range);
  }
  // What is odd about it; where that is another image, it leads there.
  function oddities(job, byId, open) {
    return Object.entries(job.flags || {}).map(([flag, told]) => {
      const line = make("p", { class: "odd", text: `⚑ ${say(`told_${flag}`, ...Object.values(told))}` }), twin = byId.get(told.job);
      if (!twin) return line;
      const button = make("button", { type: "button", text: told.job, dir: "auto" });
      button.addEventListener("click", () => open(twin));
      line.append(" ", button);
      return line;
    });
  }
  // All that it was made of, and all that was made of it, in the order of making; bounded against absurd graphs.
  function chain(job, byId, followers) {
    const before = [], seen = new Set([job]), after = [];
    const up = (one) => { for (const input of one.inputs) { const need = byId.get(input.job); if (need && !seen.has(need) && seen.size < 60) { seen.add(need); up(need); before.push(need); } } };
    up(job);
    for (let queue = [job]; queue.length && seen.size < 60;) for (const one of followers.get(queue.shift().id) || []) if (!seen.has(one)) { seen.add(one); after.push(one); queue.push(one); }
    return [...before, job, ...after];
  }
  function strip(jobs, current, open) {
    return make("nav", { class: "strip", "aria-label": say("chain") }, ...jobs.map((job) => {
      const button = make("button", { type: "button", ...(job === current ? { "aria-current": "true" } : {}) }, ...(job.thumb ? [make("img", { src: job.thumb, alt: "" })] : []), make("span", { text: job.id }));
      button.addEventListener("click", () => open(job));
      return button;
    }));
  }
  function facts(job) {
    const rows = { status: say(job.status), model: job.model, seed: job.seed, cost: `$${FLUXBATCH.usd(job.cost_usd)}`, attempts: job.attempts || 0, size: job.width && `${job.width} × ${job.height}`, bytes: job.bytes, age: job.url_age_s !== undefined && `${job.url_age_s} s`, file: job.at || job.file, request: job.request_id, meta: job.meta && JSON.stringify(job.meta) };
    return make("dl", {}, ...Object.entries(rows).filter(([, value]) => value !== undefined && value !== false).flatMap(([word, value]) => [make("dt", { text: say(word) }), make("dd", { text: value })]));
  }

  return function show(dialog, job, { byId, followers, open, step }) {
    const button = (word, act, more = {}) => { const made = make("button", { type: "button", text: say(word), ...more }); made.addEventListener("click", act); return made; };
    const added = FLUXBATCH.sections.flatMap((sections) => sections(job));
    const inputs = sources(job, byId), under = { swipe: inputs.find((input) => input.href), swipeEarlier: job.earlier?.[0] };
    const ways = Object.keys(under).filter((way) => job.href && under[way]);
    const again = (other) => () => { view = other; show(dialog, job, { byId, followers, open, step }); };
    const linked = chain(job, byId, followers);
    dialog.replaceChildren(
      make("div", { class: "bar-top" }, make("h2", { id: "detail-id", text: job.id }), button("‹", () => step(-1), { "aria-label": say("previous") }), button("›", () => step(1), { "aria-label": say("next") }), button("close", () => dialog.close())),
      ...(job.error ? [make("p", { class: "error", text: `${job.error.code}${job.error.http_status ? ` (HTTP ${job.error.http_status})` : ""}: ${job.error.message}` })] : []),
      ...oddities(job, byId, open),
      ...(ways.length ? [make("div", { class: "views" }, ...["side", ...ways].map((way) => button(way, again(way), { "aria-pressed": String(way === (ways.includes(view) ? view : "side")) })))] : []),
      ways.includes(view) ? swipe(job, under[view]) : side(job, inputs),
      ...(linked.length > 1 ? [strip(linked, job, open)] : []),
      ...added,
      ...(job.prompt ? [make("h3", { text: say("prompt") }), make("div", { class: "prompt-whole", tabindex: 0, text: job.prompt })] : []),
      facts(job));
    if (!dialog.open) dialog.showModal();
  };
})();
