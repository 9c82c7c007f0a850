// The pictures: percentiles over time, a histogram, a sparkline, and the lanes of dots.
"use strict";

const Charts = (() => {
  const tag = (name, attributes, text = "") =>
    `<${name} ${Object.entries(attributes).map(([key, value]) => `${key}="${value}"`).join(" ")}>${text}</${name}>`;
  const short = (ms) => (ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);
  const nothing = (width, text) => tag("text", { class: "empty", x: width / 2, y: 112, "text-anchor": "middle" }, text);
  // One unit is one pixel at any width, so that letters are as large on a phone as on a desk.
  const fit = (svg) => {
    const width = Math.max(200, svg.clientWidth);
    svg.setAttribute("viewBox", `0 0 ${width} 230`);
    return width;
  };

  function latency(svg, burst, marks) {
    const all = fit(svg), left = 46, right = all - 8, top = 12, bottom = 204;
    const points = burst.series.filter((point) => point.requests);
    if (!points.length) { svg.innerHTML = nothing(all, all < 360 ? "Let a crowd in first." : "Let a crowd in to see how the shop holds up."); return 0; }
    const end = Math.max(burst.seconds + 2, points[points.length - 1].at);
    const most = Math.max(50, ...points.map((point) => point.p99));
    const low = Math.log10(1), high = Math.log10(most * 1.4);
    const x = (at) => left + ((right - left) * at) / end;
    const y = (ms) => bottom - ((bottom - top) * (Math.log10(Math.max(1, ms)) - low)) / (high - low);
    const busiest = Math.max(...points.map((point) => point.requests));
    let out = "";
    for (const ms of [1, 10, 100, 1000, 10000]) {
      if (ms > most * 1.4) break;
      out += tag("line", { class: "grid", x1: left, x2: right, y1: y(ms), y2: y(ms) }) + tag("text", { x: left - 6, y: y(ms) + 4, "text-anchor": "end" }, short(ms));
    }
    const step = [5, 10, 20, 40].find((seconds) => (seconds * (right - left)) / end > 44) ?? 60;
    for (let at = 0; at <= end; at += step) out += tag("text", { x: x(at), y: bottom + 17, "text-anchor": x(at) > right - 12 ? "end" : "middle" }, `${at} s`);
    const width = Math.max(2, (right - left) / (end * 2) - 1.5);
    out += tag("g", { class: "bars" }, points.map((point) => {
      const height = ((bottom - top) * 0.42 * point.requests) / busiest;
      return tag("rect", { x: x(point.at) - width, y: bottom - height, width, height, rx: 1 });
    }).join(""));
    for (const mark of marks) {
      const at = mark.at - burst.began;
      if (at < 0 || at > end) continue;
      out += tag("line", { class: "mark", x1: x(at), x2: x(at), y1: top, y2: bottom }) + tag("circle", { class: "mark-dot", cx: x(at), cy: top, r: 3.5 }, `<title>${escape_(mark.text)}</title>`);
    }
    for (const key of ["p99", "p95", "p50"]) {
      const d = points.map((point, index) => `${index ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point[key]).toFixed(1)}`).join("");
      if (key === "p50") out += tag("path", { class: "area", d: `${d}L${x(points[points.length - 1].at)} ${bottom}L${x(points[0].at)} ${bottom}z` });
      out += tag("path", { class: `line l${key.slice(1)}`, d });
    }
    svg.innerHTML = out;
    return busiest * 2; // two reports a second
  }

  function histogram(svg, buckets) {
    const all = fit(svg);
    if (!buckets || !buckets.some(([, count]) => count)) { svg.innerHTML = nothing(all, "Nothing yet."); return; }
    const used = buckets.map(([, count]) => count > 0);
    const first = Math.max(0, used.indexOf(true) - 1), last = Math.min(buckets.length - 1, used.lastIndexOf(true) + 1);
    const shown = buckets.slice(first, last + 1), most = Math.max(...shown.map(([, count]) => count));
    const step = (all - 16) / shown.length, bottom = 204, labelled = Math.ceil(54 / step);
    svg.innerHTML = tag("g", { class: "hist" }, shown.map(([end, count], index) => {
      const height = count ? Math.max(2, (186 * count) / most) : 0;
      return tag("rect", { x: 8 + index * step + 1, y: bottom - height, width: step - 2, height, rx: 2 }, `<title>up to ${short(end)}: ${count}</title>`);
    }).join("")) + tag("line", { class: "grid", x1: 8, x2: all - 8, y1: bottom, y2: bottom }) + shown.map(([end], index) =>
      index % labelled === labelled >> 1 && (index + 1) * step < all - 24 ? tag("text", { x: 8 + (index + 1) * step, y: bottom + 17, "text-anchor": "middle" }, short(end)) : "").join("");
  }

  function spark(svg, values) {
    const most = Math.max(5, ...values);
    const d = values.map((value, index) => `${index ? "L" : "M"}${(120 * index) / Math.max(1, values.length - 1)} ${27 - (24 * value) / most}`).join("");
    svg.innerHTML = values.length > 1 ? tag("path", { d: `${d}L120 30L0 30z` }) : "";
  }

  // Dots drift from right to left for twelve seconds.
  const LIFE = 12000;
  function lane(canvas, dots, now, colours) {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = colours.line;
    pen.beginPath(); pen.moveTo(0, height / 2); pen.lineTo(width, height / 2); pen.stroke();
    while (dots.length && now - dots[0].at > LIFE) dots.shift();
    for (const dot of dots) {
      const age = Math.max(0, (now - dot.at) / LIFE);
      pen.globalAlpha = 1 - age * 0.85;
      pen.fillStyle = dot.status >= 500 ? colours.red : dot.attempts > 1 ? colours.sky : dot.method === "POST" ? colours.amber : colours.ok;
      pen.beginPath();
      pen.arc(width - 5 - age * (width - 10), height / 2 + dot.shift * (height / 2 - 6), dot.method === "POST" ? 3.6 : 2.8, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  const escape_ = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
  return { latency, histogram, spark, lane, escape: escape_ };
})();
