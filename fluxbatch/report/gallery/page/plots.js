"use strict";
// A few plots of what happened over time, as SVG.
FLUXBATCH.plots = (() => {
  const { say, make } = FLUXBATCH;
  const WIDE = 320, HIGH = 120, LEFT = 34, FOOT = 16;
  const svg = (name, facts, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const short = (value) => value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M` : value >= 1e3 ? `${+(value / 1e3).toPrecision(3)}k` : String(+value.toPrecision(3));
  const clock = (s) => s < 120 ? `${Math.round(s)} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${+(s / 3600).toPrecision(3)} h`;

  function frame(word, most, from, to, ...facts) {
    const label = say(word, ...facts);
    const plot = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${label}: ${from} – ${to}, max ${short(most)}` });
    plot.append(svg("line", { class: "axis", x1: LEFT, x2: WIDE, y1: HIGH - FOOT, y2: HIGH - FOOT }),
      svg("text", { x: LEFT - 4, y: 12, "text-anchor": "end" }, short(most)), svg("text", { x: LEFT - 4, y: HIGH - FOOT, "text-anchor": "end" }, "0"),
      svg("text", { x: LEFT, y: HIGH - 3 }, from), svg("text", { x: WIDE, y: HIGH - 3, "text-anchor": "end" }, to));
    return [plot, make("figure", {}, make("figcaption", { text: label }), plot)];
  }
  const bar = (plot, at, count, value, most, base, kind) => {
    const step = (WIDE - LEFT) / count, room = HIGH - FOOT - 4, tall = value / most * room;
    if (value) plot.append(svg("rect", { class: `bar ${kind}`, x: LEFT + at * step + .5, width: Math.max(.5, step - 1), y: HIGH - FOOT - tall - base / most * room, height: tall }));
  };
  function histogram(word, counts, edges) {
    const used = counts.map((count, at) => count ? at : -1).filter((at) => at >= 0);
    if (!used.length) return make("figure", {}, make("figcaption", { text: `${say(word)}: ${say("nothing")}` }));
    const first = used[0], last = used.at(-1), most = Math.max(...counts);
    const [plot, figure] = frame(word, most, clockless(edges[first]), last + 1 < edges.length ? clockless(edges[last + 1]) : `> ${edges[last]}`);
    for (let at = first; at <= last; at++) bar(plot, at - first, last - first + 1, counts[at], most, 0, "");
    return figure;
  }
  const clockless = (s) => String(s);
  // The limit is a line of steps; behind it, what was refused, on a scale of its own.
  function limits(line, bins, end) {
    if (!line.limit?.some((limit) => limit !== null)) return make("figure", {}, make("figcaption", { text: `${say("limit", 0)}: ${say("nothing")}` }));
    const most = Math.max(...line.limit), refused = Math.max(...line.limited), sum = line.limited.reduce((all, count) => all + count, 0);
    const [plot, figure] = frame("limit", most, "0 s", end, sum);
    line.limited.forEach((count, at) => bar(plot, at, bins, count, refused * 2 || 1, 0, "failed"));
    const step = (WIDE - LEFT) / bins, points = [];
    line.limit.forEach((limit, at) => { if (limit !== null) for (const side of [at, at + 1]) points.push(`${LEFT + side * step},${HIGH - FOOT - limit / most * (HIGH - FOOT - 4)}`); });
    plot.append(svg("polyline", { class: "curve", points: points.join(" ") }));
    return figure;
  }

  return function draw(line) {
    const bins = line.stored.length, a_minute = 60 / line.bin_s, end = clock(bins * line.bin_s);
    if (!bins) return [make("p", { text: say("nothing") })];
    const most = Math.max(...line.stored.map((count, at) => (count + line.failed[at]) * a_minute), 1);
    const [rate, rateFigure] = frame("rate", most, "0 s", end);
    line.stored.forEach((count, at) => {
      bar(rate, at, bins, count * a_minute, most, 0, "");
      bar(rate, at, bins, line.failed[at] * a_minute, most, count * a_minute, "failed");
    });
    let sum = 0;
    const sums = line.spent_usd.map((usd) => sum += usd);
    const [spend, spendFigure] = frame("spend", sum || 1, "0 s", end);
    const points = [0, ...sums].map((usd, at) => `${LEFT + at / bins * (WIDE - LEFT)},${HIGH - FOOT - usd / (sum || 1) * (HIGH - FOOT - 4)}`);
    spend.append(svg("polyline", { class: "curve", points: points.join(" ") }));
    return [rateFigure, limits(line, bins, end), spendFigure, histogram("latency", line.latency, line.edges_s), histogram("urlAge", line.url_age, line.edges_s)];
  };
})();
