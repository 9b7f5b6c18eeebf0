"use strict";
// What people say of images: approve, reject, note, undo, by keyboard; what others say comes in as they say it.
FLUXBATCH.learn({
  en: { reviewing: "Review", reviewed: "{0} of {1} reviewed", approvedCount: "{0} approved", rejectedCount: "{0} rejected", you: "You: {0}", who: "Who are you?", whoWhy: "Your name stands beside what you say of an image. It is kept in this browser.", whoGo: "Begin", keysHelp: "a approve · r reject · n note · u undo · arrows move", approve: "Approve", reject: "Reject", withdraw: "Withdraw", undo: "Undo", note: "Note", saveNote: "Save note", savedBy: "{0} by {1}, {2}", noted: "note by {0}, {1}", approved: "approved", rejected: "rejected", unreviewed: "unreviewed", outdated: "changed since it was reviewed", anyVerdict: "reviewed or not", verdict: "Review", saving: "saving …", notSaved: "[{0}] not saved: {1}", show: "Show it", swipeEarlier: "Swipe over the earlier version", earlier: "Earlier version, before round {0}", earlierWas: "rejected", earlierBy: "rejected by {0}", nothingToUndo: "nothing to undo" },
  zh: { reviewing: "审核", reviewed: "已审核 {0} / {1}", approvedCount: "通过 {0}", rejectedCount: "否决 {0}", you: "审核人：{0}", who: "您是？", whoWhy: "您的名字会记录在审核意见旁，并保存在此浏览器中。", whoGo: "开始", keysHelp: "a 通过 · r 否决 · n 备注 · u 撤销 · 方向键移动", approve: "通过", reject: "否决", withdraw: "收回", undo: "撤销", note: "备注", saveNote: "保存备注", savedBy: "{0}，{1}，{2}", noted: "{0} 的备注，{1}", approved: "已通过", rejected: "已否决", unreviewed: "未审核", outdated: "审核后已变更", anyVerdict: "是否审核", verdict: "审核", saving: "保存中……", notSaved: "[{0}] 未保存：{1}", show: "查看", swipeEarlier: "与先前版本滑动对比", earlier: "先前版本（第 {0} 轮之前）", earlierWas: "已否决", earlierBy: "被 {0} 否决", nothingToUndo: "没有可撤销的操作" },
});
(() => {
  const { jobs, say, make, served } = FLUXBATCH;
  const MARKS = { approved: "✓", rejected: "✗", outdated: "↻" }, STANDINGS = ["unreviewed", "approved", "rejected", "outdated"];
  const MOST_UNDONE = 200, LONGEST_NAME = 200, LONGEST_NOTE = 10000;
  const at = (id) => document.getElementById(id);
  const button = (word, act, more = {}) => { const made = make("button", { type: "button", text: say(word), ...more }); made.addEventListener("click", act); return made; };
  const standing = (job) => job.review?.standing, verdict = (job) => ["approved", "rejected"].includes(standing(job)) ? standing(job) : null;
  const saving = new Map(), drafts = new Map(), earlier = new Map(), done = [];
  let name = "", queue = Promise.resolve(), broken = "";

  // ---------------------------------------------------------------------------------------------------- the panel above
  const count = make("p", { class: "state", role: "status" }), who = make("button", { type: "button" }), help = make("p", { class: "keys" });
  const bar = make("progress", { max: 1, value: 0 }), facts = make("p", { class: "facts-line" }), touch = make("p", { class: "touch", role: "alert" }), trouble = make("p", { class: "touch", role: "alert" }), unsaved = make("div", { class: "touch", role: "alert" });
  const panel = make("section", { id: "live" }, make("div", { class: "live-top" }, count, who), touch, trouble, unsaved, bar, facts, help);
  const filter = make("select", { id: "review" });
  document.querySelector("header").after(panel);
  at("status").after(filter);
  filter.addEventListener("change", () => FLUXBATCH.page.choose());
  FLUXBATCH.filters.push((job) => !filter.value || (filter.value === "unreviewed" ? ["unreviewed", "outdated"].includes(standing(job)) : standing(job) === filter.value));

  function draw() {
    const counts = Object.fromEntries(STANDINGS.map((one) => [one, 0]));
    let images = 0;
    for (const job of jobs) if (job.review) { images += 1; counts[standing(job)] += 1; }
    const said = counts.approved + counts.rejected;
    panel.setAttribute("aria-label", say("reviewing"));
    count.textContent = say("reviewed", said.toLocaleString(), images.toLocaleString());
    bar.max = Math.max(1, images);
    bar.value = said;
    bar.setAttribute("aria-label", count.textContent);
    facts.replaceChildren(make("span", { class: "approved", text: say("approvedCount", counts.approved) }), make("span", { class: "rejected", text: say("rejectedCount", counts.rejected) }), ...(counts.outdated ? [make("span", { text: `${counts.outdated} ${say("outdated")}` })] : []));
    who.textContent = say("you", name || "?");
    help.textContent = say("keysHelp");
    touch.textContent = broken ? say(broken) : "";
    const shown = { "": images, ...counts, unreviewed: counts.unreviewed + counts.outdated };
    FLUXBATCH.page.fill("review", "verdict", [["", say("anyVerdict")], ...STANDINGS.map((one) => [one, `${say(one)} (${shown[one]})`])]);
  }
  function complain(job, error) {
    unsaved.replaceChildren(make("span", { text: say("notSaved", job.id.slice(0, 80), error.message) }), button("show", () => { unsaved.replaceChildren(); const now = FLUXBATCH.page.job(job.id); if (now) FLUXBATCH.page.open(now); }));
  }

  // ------------------------------------------------------------------------------------------------------------- names
  // A cookie rather than the storage of a page: that is another one for each port, and ports are chosen anew.
  const known = () => { try { return decodeURIComponent(document.cookie.match(/(?:^|; )fluxbatch-name=([^;]*)/)?.[1] || ""); } catch { return ""; } };
  function ask(suggested) {
    return new Promise((told) => {
      const field = make("input", { id: "name", maxlength: LONGEST_NAME, autocomplete: "name", "aria-label": say("who") }), dialog = make("dialog", { id: "who", "aria-labelledby": "who-title" });
      field.value = name || suggested || "";
      const go = () => {
        if (!field.value.trim()) { field.focus(); return; }
        name = field.value.trim();
        document.cookie = `fluxbatch-name=${encodeURIComponent(name)}; path=/; max-age=31536000; samesite=strict`;
        dialog.close();
      };
      field.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); go(); } });
      dialog.addEventListener("close", () => { dialog.remove(); draw(); told(name); });
      dialog.append(make("h2", { id: "who-title", text: say("who") }), make("p", { text: say("whoWhy") }), field, button("whoGo", go));
      document.body.append(dialog);
      dialog.showModal();
      field.select();
    });
  }
  who.addEventListener("click", () => ask());

  // ----------------------------------------------------------------------------------------------------------- verdicts
  // One after the other, in the order of the keys; shown as saved only once the server has it on disk.
  function save(job, wanted, { note = job.review.note || "", after = null, undoing = false } = {}) {
    if (!job.review) return;
    const before = { verdict: verdict(job), note: job.review.note || "" }, asked = { id: job.id, sha256: job.sha256, verdict: wanted, note, after };
    saving.set(job.id, (saving.get(job.id) || 0) + 1);
    FLUXBATCH.page.changed(new Set([job]));
    queue = queue.then(async () => {
      try {
        if (!name) await ask();
        const { job: now } = await served.post("review", { ...asked, by: name });
        if (!undoing) { done.push({ id: job.id, sha256: job.sha256, ...before, after: now.review?.at ?? "" }); done.splice(0, done.length - MOST_UNDONE); }
        settle(job, now);
        if (undoing) FLUXBATCH.page.show(FLUXBATCH.page.job(job.id));
        if (drafts.get(job.id)?.text === note) drafts.delete(job.id);
        unsaved.replaceChildren();
      } catch (error) {
        settle(job, error.said?.job);
        if (drafts.has(job.id)) drafts.get(job.id).after = FLUXBATCH.page.job(job.id)?.review?.at || "";
        complain(job, error);
      }
    });
  }
  function settle(job, now) {
    const left = saving.get(job.id) - 1;
    if (left > 0) saving.set(job.id, left); else saving.delete(job.id);
    if (now?.review) served.change([now]); else FLUXBATCH.page.changed(new Set([job]));
  }
  function say_of(job, wanted) {
    if (!job.review) return;
    save(job, wanted);
    if (wanted) FLUXBATCH.page.next();
  }
  // Takes back the last thing said here, unless somebody else said something since.
  function undo() {
    queue = queue.then(() => {
      const last = done.pop(), job = last && FLUXBATCH.page.job(last.id);
      if (!job) { unsaved.textContent = say("nothingToUndo"); return; }
      if (job.sha256 === last.sha256) save(job, last.verdict, { note: last.note, after: last.after, undoing: true });
    });
  }
  function write(job) {
    if (!job.review) return;
    if (!FLUXBATCH.page.dialog.open) FLUXBATCH.page.open(job);
    document.querySelector("#detail textarea")?.focus();
  }
  FLUXBATCH.keys = { a: (job) => say_of(job, "approved"), r: (job) => say_of(job, "rejected"), n: write, u: undo };

  // ------------------------------------------------------------------------------------------------- on tiles and large
  const moment = (text) => new Date(text).toLocaleString();
  FLUXBATCH.badges.push((job) => {
    if (!job.review) return [];
    const waits = saving.has(job.id), is = standing(job), words = [waits ? "…" : MARKS[is] || "", job.review.note ? "✎" : ""].filter(Boolean).join(" ");
    return words ? [make("span", { class: `verdict ${waits ? "saving" : is}`, text: words, title: [waits ? say("saving") : say(is), job.review.by, job.review.note?.slice(0, 200)].filter(Boolean).join(" · ") })] : [];
  });
  FLUXBATCH.sections.push((job) => {
    if (!job.review) return [];
    before(job);
    const { review } = job, is = verdict(job), draft = drafts.get(job.id), area = make("textarea", { rows: 2, maxlength: LONGEST_NOTE, "aria-label": say("note"), placeholder: say("note"), dir: "auto" });
    const keep = () => { if (area.value === (review.note || "")) drafts.delete(job.id); else drafts.set(job.id, { text: area.value, after: draft?.after ?? review.at ?? "", from: area.selectionStart, to: area.selectionEnd }); };
    const put = () => { area.blur(); if (area.value !== (review.note || "")) { keep(); save(job, is, { note: area.value, after: drafts.get(job.id).after }); } };
    area.value = draft ? draft.text : review.note || "";
    area.addEventListener("input", keep);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); put(); }
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); area.blur(); } // what was typed stays
    });
    // this may be drawn anew under somebody's hands
    if (document.activeElement?.matches("#detail textarea") && document.activeElement.dataset.of === job.id) queueMicrotask(() => { area.focus(); area.setSelectionRange(draft?.from ?? area.value.length, draft?.to ?? area.value.length); });
    area.dataset.of = job.id;
    const said = saving.has(job.id) ? say("saving") : is ? say("savedBy", say(is), review.by, moment(review.at)) : review.note ? say("noted", review.by, moment(review.at)) : say(standing(job));
    return [make("section", { class: "review" },
      make("div", { class: "verdicts" },
        button("approve", () => say_of(job, "approved"), { class: "approve", "aria-pressed": String(is === "approved"), "aria-keyshortcuts": "a" }),
        button("reject", () => say_of(job, "rejected"), { class: "reject", "aria-pressed": String(is === "rejected"), "aria-keyshortcuts": "r" }),
        ...(is ? [button("withdraw", () => save(job, null))] : []), button("undo", undo, { "aria-keyshortcuts": "u" }),
        make("span", { class: `said ${saving.has(job.id) ? "saving" : standing(job)}`, text: said, dir: "auto" })),
      make("div", { class: "noting" }, area, button("saveNote", put)))];
  });
  function label(one) {
    const why = `${one.by ? say("earlierBy", one.by) : say("earlierWas")}${one.note ? `: ${one.note.slice(0, 300)}` : ""}`;
    return `${say("earlier", one.round)} (${why})${one.prompt ? ` → ${one.prompt.slice(0, 300)}` : ""}`;
  }
  // Images that gave way to this one, to be shown beside it.
  function before(job) {
    const key = `${job.id} ${job.sha256}`;
    if (earlier.has(key)) { job.earlier = earlier.get(key).map((one) => ({ ...one, label: label(one) })); return; }
    earlier.set(key, []);
    served.get(`job?id=${encodeURIComponent(job.id)}`).then((answer) => answer.json()).then(({ earlier: all }) => { earlier.set(key, all); if (all.length) FLUXBATCH.page.changed(new Set([FLUXBATCH.page.job(job.id)])); }, () => earlier.delete(key));
  }

  served.touch((word) => { broken = word; touch.textContent = word ? say(word) : ""; });
  served.hear("trouble", ({ message }) => { if (trouble.textContent !== message) trouble.textContent = message; });
  FLUXBATCH.written.push(draw);
  name = known();
  served.first((about) => { if (!name) ask(about.name); });
  served.connect();
})();
