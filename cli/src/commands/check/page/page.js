"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const count = new Intl.NumberFormat("en");
  const figure = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const share = (value) => (100 * value).toFixed(1) + " %";
  const items = (number) => count.format(number) + (number === 1 ? " item" : " items");

  // One note for all charts: lines of plain text beside the pointer.
  const tip = document.getElementById("tip");
  function explain(selection, lines) {
    selection
      .on("pointerenter pointermove", (event, datum) => {
        tip.replaceChildren(...lines(datum).map((line) => {
          const paragraph = document.createElement("p");
          paragraph.textContent = line;
          return paragraph;
        }));
        tip.hidden = false;
        const { width, height } = tip.getBoundingClientRect();
        const beside = (at, size, room) => Math.max(4, at + 14 + size > room ? at - size - 10 : at + 14);
        const left = Math.min(beside(event.clientX, width, innerWidth), innerWidth - width - 4);
        tip.style.transform = `translate(${left}px, ${beside(event.clientY, height, innerHeight)}px)`;
      })
      .on("pointerleave", () => { tip.hidden = true; });
  }

  // Calls draw now and whenever the element's width changes.
  function fit(element, draw) {
    let drawn = 0;
    new ResizeObserver(() => {
      if (element.clientWidth !== drawn) {
        drawn = element.clientWidth;
        draw();
      }
    }).observe(element);
  }

  // The tree: two levels at a time below an opened node.
  const tree = document.getElementById("tree");
  const name = (node) => node.prefix === "" ? "all items" : node.prefix ?? "smaller ones";
  function describe({ data: node }) {
    const { names } = data.legend;
    const kind = names.length ? ` · ${share(node.share)} ${names[node.colour]}` : "";
    return [`${name(node)}: ${items(node.items)}${kind}`, ...node.titles];
  }
  function open(path) {
    const node = path[path.length - 1];
    const trail = d3.select("#trail").selectAll("button").data(path).join("button")
      .text((node, at) => (at ? "› " : "") + name(node))
      .property("disabled", (_, at) => at === path.length - 1)
      .on("click", (event) => open(path.slice(0, trail.nodes().indexOf(event.currentTarget) + 1)));

    const root = d3.hierarchy(node, ({ children }) => children);
    // What is below a node that was not opened far enough is still its own.
    root.eachAfter((node) => { node.value = node.data.items; });
    d3.treemap().size([tree.clientWidth, tree.clientHeight]).round(true)
      .paddingInner((node) => node.depth === 0 ? 3 : 1)(root);
    const cells = root.descendants().filter(({ depth, children }) => depth === 2 || (depth === 1 && !children));
    const top = (node) => node.depth > 1 ? node.parent : node;
    const kind = data.legend.steps ? "step" : "hue";
    const cell = d3.select(tree).selectAll("div").data(cells).join((enter) => {
      const cell = enter.append("div");
      cell.append("i");
      cell.append("span");
      return cell;
    });
    cell
      .attr("class", (node) => `cell ${kind}${node.data.colour}${top(node).children ? " open" : ""}`)
      .style("left", ({ x0 }) => x0 + "px").style("top", ({ y0 }) => y0 + "px")
      .style("width", ({ x0, x1 }) => x1 - x0 + "px").style("height", ({ y0, y1 }) => y1 - y0 + "px")
      .on("click", (_, node) => {
        if (top(node).children) {
          tip.hidden = true;
          open([...path, top(node).data]);
        }
      });
    cell.select("i").style("opacity", ({ data: { share } }) => 0.5 + 0.5 * share);
    cell.select("span").text(({ x0, x1, y0, y1, data: node }) =>
      x1 - x0 > 70 && y1 - y0 > 32 ? node.titles[0] + (node.items > 1 ? ` +${count.format(node.items - 1)}` : "") : "");
    explain(cell, (node) => node.depth > 1 ? [...describe(node), `below ${name(top(node).data)}`] : describe(node));
    opened = path;
  }
  let opened = [data.tree];
  fit(tree, () => open(opened));

  // Items of each code.
  document.querySelectorAll(".use").forEach((element, level) => {
    const use = data.uses[level];
    fit(element, () => {
      const [width, height, head] = [element.clientWidth, 110, 14];
      const x = d3.scaleLinear([0, use.items.length], [0, width]);
      const y = d3.scaleLinear([0, Math.max(use.even, use.items[0])], [height, head]);
      const svg = d3.select(element).selectAll("svg").data([use]).join("svg");
      const bar = svg.selectAll("rect").data(use.items).join("rect")
        .attr("x", (_, at) => x(at)).attr("width", Math.max(x(1) - (x(1) > 3 ? 1 : 0), 0.5))
        .attr("y", y).attr("height", (value) => height - y(value));
      explain(bar, (value) => [`${figure.format(value)} items`, use.codes > 1 ? `mean of ${use.codes} codes` : "of one code"]);
      svg.selectAll("line").data([use.even]).join("line")
        .attr("x2", width).attr("y1", y).attr("y2", y);
      svg.selectAll("text").data([`even: ${figure.format(use.even)}`]).join("text")
        .attr("x", width).attr("y", y(use.even) - 4).attr("text-anchor", "end").text((text) => text);
    });
  });

  // Figures beside their controls.
  const units = { bits: (value) => value.toFixed(2), items: (value) => count.format(value), share };
  document.querySelectorAll(".bars").forEach((element, at) => {
    const { bars, unit } = data.bars[at];
    const text = units[unit];
    const most = unit === "share" ? 1 : Math.max(...bars.flatMap((bar) => [bar.value, bar.shuffled ?? 0]), 1e-9);
    const width = (value) => 100 * Math.max(value, 0) / most + "%";
    for (const bar of bars) {
      const row = d3.select(element);
      row.append("span").text(bar.name);
      const track = row.append("div").attr("class", "track");
      track.append("i").attr("class", "own").style("width", width(bar.value));
      const value = row.append("span").attr("class", "value").text(text(bar.value));
      if (bar.shuffled !== null) {
        track.append("i").attr("class", "control").style("width", width(bar.shuffled));
        value.append("small").text(text(bar.shuffled));
      }
    }
  });
})();
