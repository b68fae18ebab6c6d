"use strict";
// Names the values under the pointer and hides lines by their legend; the page reads without it.
for (const figure of document.querySelectorAll("figure.chart:not(.cells)")) {
  const svg = figure.querySelector("svg");
  const numbers = (name) => svg.dataset[name].split(",").map(Number);
  const [first, last] = numbers("x"), [low, high] = numbers("y");
  const [left, right, top, floor] = numbers("plot");
  const value = (y) => {
    const share = (floor - y) / (floor - top);
    return svg.dataset.scale === "log"
      ? low * Math.pow(high / low, share) : low + share * (high - low);
  };
  const short = (number) => {
    const size = Math.abs(number);
    for (const [scale, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e4, "k"]])
      if (size >= scale) return +(number / scale).toPrecision(4) + unit;
    return size !== 0 && size < 1e-3 ? number.toExponential(2) : String(+number.toPrecision(4));
  };
  const lines = [...svg.querySelectorAll("path.line")].map((path) => ({
    path, name: path.dataset.name, faint: path.classList.contains("faint"),
    points: path.getAttribute("d").split(/[ML]/).slice(1).map((point) => point.split(" ").map(Number)),
  }));
  const tip = figure.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  const cursor = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  cursor.setAttribute("class", "cursor");
  const away = () => { tip.hidden = true; cursor.setAttribute("d", ""); };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    if (x < left || x > right) return away();
    cursor.setAttribute("d", `M${x} ${top}V${floor}`);
    const at = first + (x - left) / (right - left) * (last - first);
    const rows = [`${short(at)} ${svg.dataset.unit}`];
    for (const line of lines) {
      if (line.faint || line.path.style.display === "none" || !line.points.length) continue;
      const ends = [line.points[0][0], line.points[line.points.length - 1][0]];
      if (x < ends[0] - 4 || x > ends[1] + 4) continue;
      let from = 0, to = line.points.length - 1;
      while (from < to) {
        const middle = (from + to) >> 1;
        if (line.points[middle][0] < x) from = middle + 1; else to = middle;
      }
      if (from > 0 && x - line.points[from - 1][0] < line.points[from][0] - x) from -= 1;
      rows.push(`${line.name}: ${short(value(line.points[from][1]))}`);
    }
    tip.replaceChildren(...rows.map((row) => {
      const element = document.createElement("div");
      element.textContent = row;
      return element;
    }));
    tip.hidden = false;
    const side = event.clientX - box.left;
    tip.style.left = side < box.width / 2 ? `${side + 12}px` : "";
    tip.style.right = side < box.width / 2 ? "" : `${box.width - side + 12}px`;
  });
  svg.addEventListener("pointerleave", away);
  for (const entry of figure.querySelectorAll(".legend li")) {
    entry.addEventListener("click", () => {
      const hidden = entry.classList.toggle("off");
      for (const line of lines)
        if (line.name === entry.dataset.name) line.path.style.display = hidden ? "none" : "";
    });
  }
}
