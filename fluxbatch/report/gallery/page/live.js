"use strict";
// How a run stands, above its jobs: counts, pace, money, what landed last, what failed last, and a button that stops it.
FLUXBATCH.learn({
  en: { preparing: "Reading what is asked for …", running: "Running", stopping: "Stopping: waits for {0} in flight and {1} to be fetched, {2} s so far", ended: "The run is over (exit code {0}).", calledOff: "The run was called off.", afterwards: "This page is served no longer; fluxbatch review --serve shows the images again.", stop: "Stop the run", stopSure: "Sure? What is in flight is finished and fetched", stopFailed: "It could not be stopped: {0}", madeOf: "{0} of {1} made", failedCount: "{0} failed", flight: "{0} in flight", waiting: "{0} waiting for delivery", pace: "{0} a minute", left: "{0} left", limitNow: "limit {0} at a time", limitWas: "was {0}: {1}", spent: "${0} spent", spentOf: "${0} of ${1}", budgetOfday: "${0} of the ${1} of this day", budgetOfweek: "${0} of the ${1} of this week", budgetOfmonth: "${0} of the ${1} of this month", closes: "sends until {0}", maybe: "${0} maybe billed", oldest: "oldest URL {0} s of {1} s", latest: "Latest images", failures: "Last failures", live: "Run" },
  zh: { preparing: "正在读取任务……", running: "运行中", stopping: "正在停止：等待 {0} 个响应、{1} 张图像下载，已 {2} 秒", ended: "运行已结束（退出码 {0}）。", calledOff: "运行已取消。", afterwards: "此页面不再提供服务；可用 fluxbatch review --serve 再次查看图像。", stop: "停止运行", stopSure: "确定？进行中的请求会完成并取回", stopFailed: "无法停止：{0}", madeOf: "已生成 {0} / {1}", failedCount: "失败 {0}", flight: "进行中 {0}", waiting: "待下载 {0}", pace: "每分钟 {0} 张", left: "剩余 {0}", limitNow: "并发上限 {0}", limitWas: "原为 {0}：{1}", "another model is asked for": "用到了另一个模型", "answers got through": "响应正常", "one more than found so far is tried": "试探更多一个", "a rate limit was met": "遇到限流", "fewer were refused as well": "更少时也被拒绝", spent: "已花费 ${0}", spentOf: "${0} / ${1}", budgetOfday: "本日 ${0} / ${1}", budgetOfweek: "本周 ${0} / ${1}", budgetOfmonth: "本月 ${0} / ${1}", closes: "发送至 {0}", maybe: "${0} 可能已计费", oldest: "最旧链接 {0} 秒 / {1} 秒", latest: "最新图像", failures: "最近失败", live: "运行" },
});
(() => {
  const { say, make, served, usd } = FLUXBATCH;
  const LATEST = 12, SURE_MS = 6000;
  const state = make("p", { class: "state", role: "status" }), touch = make("p", { class: "touch", role: "alert" }), stop = make("button", { type: "button", class: "stop", hidden: "" });
  const bar = make("progress", { max: 1, value: 0 }), facts = make("p", { class: "facts-line" }), failures = make("ul", { class: "failures" }), latest = make("nav", { class: "strip" });
  const headings = { failures: make("h2"), latest: make("h2") };
  const panel = make("section", { id: "live" }, make("div", { class: "live-top" }, state, stop), touch, bar, facts, headings.latest, latest, headings.failures, failures);
  document.querySelector("header").after(panel);
  let run = { phase: "preparing" }, progress = null, sure = 0, trouble = "", failed = "";

  const lasts = (s) => s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
  function told() {
    if (run.phase === "ended") return `${run.exit_code === null ? say("calledOff") : say("ended", run.exit_code)} ${say("afterwards")}`;
    if (progress?.stopping) return say("stopping", progress.in_flight, progress.owed, Math.round(progress.stopping_s));
    return say(run.phase);
  }
  // Why the limit changed, in the reader's language: it is told in English, as the terminal shows it.
  function why(text) {
    const [, before, cause] = text.match(/^was (\d+): (.*)$/) || [];
    return before === undefined ? text : say("limitWas", before, say(cause));
  }
  function parts() {
    const p = progress, spent = p.carried_usd + p.spent_usd + p.unknown_usd;
    return [say("madeOf", p.made.toLocaleString(), p.make.toLocaleString()), say("failedCount", p.failed.toLocaleString()), say("flight", p.in_flight), say("waiting", p.owed), say("pace", Math.round(p.per_minute)),
      ...(p.left_s === null ? [] : [say("left", lasts(p.left_s))]), say("limitNow", p.limit) + (p.limit_why ? ` (${why(p.limit_why)})` : ""), p.cap_usd === null ? say("spent", usd(spent)) : say("spentOf", usd(spent), usd(p.cap_usd)),
      ...(p.budget_usd === null ? [] : [say(`budgetOf${p.budget_period}`, usd(p.budget_spent_usd), usd(p.budget_usd))]), ...(p.closes ? [say("closes", p.closes)] : []),
      ...(p.unknown_usd ? [say("maybe", usd(p.unknown_usd))] : []), ...(p.url_age_s === null ? [] : [say("oldest", Math.round(p.url_age_s), Math.round(p.url_life_s))])];
  }
  const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  function draw() {
    panel.setAttribute("aria-label", say("live"));
    set(state, told());
    set(touch, trouble ? say(trouble) : "");
    stop.hidden = run.phase !== "running" || Boolean(progress?.stopping);
    set(stop, say(sure ? "stopSure" : "stop"));
    bar.hidden = !progress;
    set(headings.latest, latest.children.length ? say("latest") : "");
    if (!progress) return;
    bar.max = Math.max(1, progress.make);
    bar.value = progress.made + progress.failed;
    bar.setAttribute("aria-label", say("madeOf", progress.made, progress.make));
    facts.replaceChildren(...parts().map((text) => make("span", { text })));
    set(headings.failures, progress.recent.length ? say("failures") : "");
    const told_of = JSON.stringify(progress.recent);
    if (told_of === failed) return;
    failed = told_of;
    failures.replaceChildren(...progress.recent.toReversed().map(([id, message, remedy]) => make("li", {}, name(id), make("span", { text: message }), make("i", { text: remedy }))));
  }
  function name(id) {
    const button = make("button", { type: "button", text: id, dir: "auto" });
    button.addEventListener("click", () => { const job = FLUXBATCH.page?.job(id); if (job) FLUXBATCH.page.open(job); });
    return button;
  }
  // What landed last comes first, once its thumbnail is there to be seen.
  function land(changed) {
    for (const job of changed.filter((one) => one.status === "stored" && one.thumb).slice(-LATEST)) {
      const image = make("img", { alt: "" }), button = make("button", { type: "button" }, image, make("span", { text: job.id, dir: "auto" }));
      button.addEventListener("click", () => { const now = FLUXBATCH.page.job(job.id); if (now) FLUXBATCH.page.open(now); });
      image.addEventListener("load", () => {
        for (const old of [...latest.children].filter((one, at) => one.title === job.id || at >= LATEST - 1)) old.remove();
        latest.prepend(button);
        set(headings.latest, say("latest"));
      }, { once: true });
      button.title = job.id;
      image.src = job.thumb;
    }
  }
  stop.addEventListener("click", async () => {
    if (!sure) { sure = setTimeout(() => { sure = 0; draw(); }, SURE_MS); draw(); return; }
    clearTimeout(sure);
    sure = 0;
    stop.disabled = true;
    try { await served.post("stop"); } catch (error) { stop.disabled = false; set(touch, say("stopFailed", error.message)); }
  });
  served.touch((word) => { trouble = word; draw(); });
  served.hear("progress", (facts) => { progress = facts; draw(); });
  served.hear("run", (facts) => { run = facts; if (run.phase === "ended") { served.end(); trouble = ""; } draw(); });
  served.hear("changed", land);
  FLUXBATCH.written.push(draw);
  draw();
  served.connect();
})();
