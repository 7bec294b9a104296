// Follows a training run: asks for what is new, draws its curves. No dependency. Without it the page
// shows what was known when it was opened.
(() => {
  "use strict";

  const EVERY_MS = 2000;
  const SLOWEST_MS = 30000;
  const KEPT_LINES = 400;
  const SVG = "http://www.w3.org/2000/svg";
  const NARROWEST = 260, HEIGHT = 240, LEFT = 48, RIGHT = 12, TOP = 12, BOTTOM = 28;

  const element = (name, attributes = {}, text = "") => {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text) made.textContent = text;
    return made;
  };
  const html = (name, className = "", text = "") => Object.assign(
    document.createElement(name), { className, textContent: text },
  );

  // Round numbers from 0 to at least `top`, four or five of them.
  const ticks = (top) => {
    const rough = (top || 1) / 4;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((one) => one * unit).find((one) => one >= rough * 0.999);
    const count = Math.max(1, Math.ceil(top / step - 1e-9));
    return Array.from({ length: count + 1 }, (_, at) => Number((at * step).toPrecision(6)));
  };

  const mark = (one, px, py) => one.mark === "round"
    ? element("circle", { cx: px, cy: py, r: 3.5, class: `pl-curve-mark ${one.style}` })
    : element("rect", { x: px - 3.25, y: py - 3.25, width: 6.5, height: 6.5, class: `pl-curve-mark ${one.style}` });

  // A chart with one or two series over the steps. `series`: {name, style, mark, of(point)}.
  const chart = (box, { title, series, show, top }) => {
    let columns = []; // {step, values: [of each series or null]}
    let at = -1;
    const frame = html("div", "pl-curve");
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", `${title} by step. Arrow keys read the points.`);
    const drawing = element("svg", { height: HEIGHT, "aria-hidden": "true" });
    let width = NARROWEST;
    const legend = html("ul", "pl-legend");
    series.forEach((one) => {
      const item = html("li");
      const sample = element("svg", { viewBox: "0 0 28 10", width: 28, height: 10, "aria-hidden": "true" });
      sample.append(element("line", { x1: 0, x2: 28, y1: 5, y2: 5, class: `pl-curve-line ${one.style}` }));
      if (one.mark) sample.append(mark(one, 14, 5));
      item.append(sample, one.name);
      legend.append(item);
    });
    const said = html("p", "pl-note pl-curve-said");
    said.setAttribute("aria-live", "polite");
    frame.append(drawing);

    const x = (step, last) => LEFT + (width - LEFT - RIGHT) * (last ? step / last : 0);
    let scale = { last: 1, high: 1 };
    const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / scale.high);

    const draw = () => {
      // One unit is one pixel, so that its texts keep their size.
      width = Math.max(frame.clientWidth, NARROWEST);
      drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      const values = columns.flatMap((one) => one.values).filter((one) => one !== null);
      const marks = ticks(top || Math.max(...values));
      scale = { last: columns.at(-1).step, high: marks.at(-1) };
      drawing.replaceChildren();
      marks.forEach((value) => {
        drawing.append(element("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "pl-curve-grid" }));
        drawing.append(element("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, show(value, true)));
      });
      ticks(scale.last).filter((step) => step <= scale.last && Number.isInteger(step)).forEach((step) => {
        const place = x(step, scale.last);
        const anchor = place > width - RIGHT - 12 ? "end" : "middle";
        drawing.append(element("text", { x: place, y: HEIGHT - 8, "text-anchor": anchor }, step.toLocaleString("en")));
      });
      series.forEach((one, number) => {
        const points = columns.filter((column) => column.values[number] !== null)
          .map((column) => [x(column.step, scale.last), y(column.values[number])]);
        drawing.append(element("polyline", {
          points: points.map((pair) => pair.map((value) => value.toFixed(1)).join(",")).join(" "),
          class: `pl-curve-line ${one.style}`,
        }));
        if (one.mark && points.length <= 60) points.forEach(([px, py]) => drawing.append(mark(one, px, py)));
      });
      if (at >= 0) cursor();
    };
    const cursor = () => {
      const place = x(columns[at].step, scale.last);
      const found = drawing.querySelector(".pl-curve-cursor");
      const line = found || element("line", { class: "pl-curve-cursor", y1: TOP, y2: HEIGHT - BOTTOM });
      line.setAttribute("x1", place);
      line.setAttribute("x2", place);
      if (!found) drawing.append(line);
    };
    const say = (to) => {
      at = Math.min(Math.max(to, 0), columns.length - 1);
      if (at < 0) return;
      const told = series.map((one, number) => [one, columns[at].values[number]])
        .filter(([, value]) => value !== null)
        .map(([one, value]) => `${one.name.toLowerCase()} ${show(value)}`);
      said.textContent = `Step ${columns[at].step.toLocaleString("en")}: ${told.join(", ")}`;
      cursor();
    };
    const rest = () => {
      at = -1;
      drawing.querySelector(".pl-curve-cursor")?.remove();
      said.textContent = "Point at the curve, or use the arrow keys on it, to read its points.";
    };
    rest();
    new ResizeObserver(() => columns.length && frame.clientWidth !== width && draw()).observe(frame);
    frame.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: columns.length - 1 };
      if (event.ctrlKey || event.altKey || event.metaKey || !columns.length) return;
      if (event.key === "Escape") rest();
      if (!(event.key in moves)) return;
      event.preventDefault();
      say(at < 0 && event.key === "ArrowLeft" ? columns.length - 1 : moves[event.key]);
    });
    frame.addEventListener("blur", rest);
    drawing.addEventListener("pointermove", (event) => {
      const area = drawing.getBoundingClientRect();
      const wanted = ((event.clientX - area.left) / area.width * width - LEFT) / (width - LEFT - RIGHT) * scale.last;
      const distances = columns.map((one) => Math.abs(one.step - wanted));
      say(distances.indexOf(Math.min(...distances)));
    });
    drawing.addEventListener("pointerleave", rest);

    return (points) => {
      const steady = new Map();
      points.forEach((point) => {
        const found = series.map((one) => one.of(point) ?? null);
        if (found.every((value) => value === null)) return;
        const before = steady.get(point.step) || series.map(() => null);
        steady.set(point.step, found.map((value, number) => value ?? before[number]));
      });
      const chosen = at >= 0 ? columns[at].step : null;
      columns = [...steady].map(([step, values]) => ({ step, values })).sort((a, b) => a.step - b.step);
      if (!columns.length) return;
      at = chosen === null ? -1 : columns.findIndex((one) => one.step >= chosen);
      if (!frame.isConnected) box.replaceChildren(legend, frame, said);
      draw();
    };
  };

  const follow = (root) => {
    const find = (name, value) => root.querySelector(
      value ? `[data-pl-${name}="${value}"]` : `[data-pl-${name}]`,
    );
    const points = new Map(); // by kind and step: a resumed run tells some again
    const share = (value, short) => `${(100 * value).toFixed(short ? 0 : 1)} %`;
    const loss = chart(find("curve", "loss"), {
      title: "Loss",
      series: [
        { name: "Training", style: "pl-curve-a", of: (one) => (one.kind === "step" ? one.loss : null) },
        { name: "Held out", style: "pl-curve-b", mark: "round", of: (one) => (one.kind === "evaluation" ? one.loss : null) },
      ],
      show: (value, short) => (short ? String(value) : value.toFixed(4)),
    });
    const accuracy = chart(find("curve", "accuracy"), {
      title: "Held-out accuracy",
      series: [
        { name: "Right label", style: "pl-curve-a", mark: "round", of: (one) => one.accuracy },
        { name: "Right branch", style: "pl-curve-c", mark: "square", of: (one) => one.parent },
      ],
      show: share, top: 1,
    });
    let state = "", after = 0, line = 0, wait = EVERY_MS, last = new Date(), timer = 0, ended = false;

    const evaluations = () => {
      const found = [...points.values()].filter((one) => one.kind === "evaluation").sort((a, b) => a.step - b.step);
      find("no-evaluations").hidden = found.length > 0;
      find("evaluations").replaceChildren(...found.map((one) => {
        const row = html("tr");
        const head = html("th", "", one.step.toLocaleString("en"));
        head.scope = "row";
        const cells = [one.loss.toFixed(4), one.accuracy?.toFixed(3) ?? "-", one.parent?.toFixed(3) ?? "-"];
        row.append(head, ...cells.map((text) => html("td", "pl-number", text)));
        return row;
      }));
    };
    const log = (lines) => {
      const list = find("log");
      const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
      list.append(...lines.map((one) => {
        const item = html("li", `pl-log-${one.level}`);
        item.append(html("time", "", one.at), " ", html("span", "", one.text));
        return item;
      }));
      while (list.children.length > KEPT_LINES) list.firstChild.remove();
      find("no-lines").hidden = list.children.length > 0;
      if (atEnd) list.scrollTop = list.scrollHeight;
    };
    const show = (told, first) => {
      told.points.forEach((one) => points.set(`${one.kind} ${one.step}`, one));
      if (told.points.length) {
        const all = [...points.values()];
        loss(all);
        accuracy(all);
        evaluations();
      }
      if (first) find("log").scrollTop = find("log").scrollHeight;
      else log(told.lines);
      after = told.after;
      line = told.line;
      Object.entries(told.facts).forEach(([name, text]) => {
        const place = find("fact", name);
        if (place.textContent !== text) place.textContent = text;
      });
      const bar = find("bar");
      bar.setAttribute("aria-valuenow", told.percent);
      bar.firstElementChild.style.width = `${told.percent}%`;
      const message = find("message");
      message.hidden = !told.message;
      if (message.textContent !== told.message) message.textContent = told.message;
      message.classList.toggle("pl-notice-bad", ["failed", "refused", "lost"].includes(told.state));
      root.querySelectorAll("[data-pl-when]").forEach((one) => {
        one.hidden = !told[one.dataset.plWhen];
      });
      if (told.state !== state) {
        if (!first) find("said").textContent = `The run is now: ${told.state_text}.`;
        const badge = find("badge").firstElementChild;
        badge.textContent = told.state_text;
        badge.className = `pl-badge pl-${told.tone}`;
        state = told.state;
      }
      ended = !told.open;
    };
    const trouble = (text) => {
      const place = find("trouble");
      if (place.textContent !== text) place.textContent = text;
      place.hidden = !text;
    };
    const ask = async () => {
      clearTimeout(timer);
      if (document.hidden) return; // asked again when it is looked at
      let goOn = true;
      try {
        const answer = await fetch(`${root.dataset.plRun}?after=${after}&line=${line}`, {
          headers: { Accept: "application/json" }, redirect: "manual", signal: AbortSignal.timeout(15000),
        });
        if (answer.type === "opaqueredirect" || answer.status === 403 || answer.status === 404) {
          trouble("You are not logged in any more, or may not see this run. Log in again, then reload this page.");
          return;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        show(await answer.json(), false);
        last = new Date();
        wait = EVERY_MS;
        trouble("");
        goOn = !ended;
      } catch {
        wait = Math.min(wait * 2, SLOWEST_MS);
        trouble(`The connection is lost. It is tried again every ${wait / 1000} seconds; the run goes on by itself. `
          + `What is shown is from ${last.toISOString().slice(11, 19)} UTC.`);
      }
      if (goOn) timer = setTimeout(ask, wait);
    };

    show(JSON.parse(document.getElementById("run-shown").textContent), true);
    if (ended) return;
    timer = setTimeout(ask, EVERY_MS);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && !ended) ask();
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-pl-run]").forEach(follow);
  });
})();
