/* The overview: the state and the numbers of now by server-sent events, plots of what /api/history tells. */
import { follow, told as explained } from "./following.js"
import { $, $$, made, marked, moment, times, zone } from "./parts.js"

const board = $("#plots")
const range = board.dataset.range, seconds = +board.dataset.seconds, moving = range === "10m"
const drawn = new Map()  // by plot: { plot, lines, columns }
let told = null, placed = new Set(), loaded = 0, spoken = 0, stated = null

const colour = variable => getComputedStyle(document.documentElement).getPropertyValue(variable).trim()
const tint = line => colour("--s" + (line.index % 8 + 1))
const digits = value => value == null ? "\u2013" : value >= 100 || Number.isInteger(value)
  ? Math.round(value).toLocaleString("en").replaceAll(",", "\u202f") : value.toFixed(value < 1 ? 2 : 1)
const clock = when => new Date(when).toLocaleTimeString()

async function load() {
  if (document.hidden || Date.now() - loaded < 2000) return
  loaded = Date.now()
  const answer = await fetch("/api/history?range=" + range).catch(() => null)
  const type = answer && answer.headers.get("content-type")
  if (!answer || !answer.ok || !type.startsWith("application/json")) return
  told = await answer.json()
  placed = new Set(Object.values(told.plots).flatMap(plot => plot.places))
  draw()
}

function draw() {
  if (!told || !window.uPlot || document.hidden) return
  for (const section of $$("[data-plot]", board)) one(section, told.plots[section.dataset.plot])
}

/* Lines that are zero all the time are told below the plot, so that its legend is short; their colours stay. */
function one(section, found) {
  section.hidden = !found || !found.series.length
  if (section.hidden) return
  const all = found.series.map((label, index) => ({ label, index, place: found.places[index],
    values: found.values[index] }))
  const some = all.filter(line => line.values.some(value => value))
  const lines = some.length ? some : all.slice(0, 1)
  const data = [told.times, ...lines.map(line => line.values)]
  const before = drawn.get(section)
  const labels = lines.map(line => line.label).join("|")
  if (before && before.labels === labels) before.plot.setData(data)
  else {
    if (before) before.plot.destroy()
    drawn.set(section, { labels, plot: made_plot(section, lines, data) })
  }
  const { plot } = drawn.get(section)
  if (plot.cursor.idx == null) plot.setLegend({ idx: newest() })
  $("canvas", section).setAttribute("aria-label", spoken_of(section, all))
  if (section.classList.contains("shown")) table(section, all)
}

/* What the legend shows by itself: now, or the newest moment with a value where moments are means. */
function newest() {
  const all = moving ? [] : Object.values(told.plots).flatMap(plot => plot.values)
  const index = told.times.findLastIndex((_, at) => all.some(values => values[at] != null))
  return index < 0 ? told.times.length - 1 : index
}

/* Values that no line goes to: those with a gap on both sides. */
function alone(values) {
  return [...values.keys()].filter(at => values[at] != null && values[at - 1] == null && values[at + 1] == null)
}

function spoken_of(section, lines) {
  const values = lines.map(line => line.label + " " + digits(line.values[newest()])).join(", ")
  return $("h3", section).textContent.trim().replace(/\s+/g, " ") + (moving ? ", now: " : ", last: ") + values
}

function made_plot(section, lines, data) {
  const unit = section.dataset.unit, percent = unit === "%"
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" }
  const plot = new uPlot({
    width: width(section), height: 210,
    cursor: { sync: { key: "overview" }, drag: { x: false, y: false }, y: false },
    scales: {
      x: { range: () => [told.times.at(-1) - seconds, told.times.at(-1)] },
      y: { range: (_, low, high) => [0, percent ? Math.min(100, Math.max(10, high * 1.15)) : high * 1.15 || 1] } },
    axes: [
      { ...axis, size: 34, values: (_, ticks, __, ___, step) => ticks.map(tick => axis_time(tick, step)), space: 70 },
      { ...axis, size: 52, values: (_, ticks) => ticks.map(tick => short(tick) + (percent ? " %" : "")) }],
    legend: { markers: { width: 0, fill: (_, index) => colour("--s" + (lines[index - 1].index % 8 + 1)) } },
    series: [
      { label: "time, " + zone(), value: (_, when) => when == null ? "\u2013"
        : seconds > 86400 ? new Date(when * 1000).toLocaleString() : clock(when * 1000) },
      ...lines.map(line => ({
        label: line.label, stroke: tint(line), width: 2, spanGaps: false,
        points: { size: 6, fill: tint(line), filter: (plot, index, all) => all ? null : alone(plot.data[index]) },
        value: (_, value) => digits(value) + (percent && value != null ? " %" : "") }))],
    hooks: { setCursor: [plot => { if (plot.cursor.idx == null && told) plot.setLegend({ idx: newest() }, false) }] },
  }, data, $(".draw", section))
  legend(plot, section)
  return plot
}

const width = section => Math.max(200, $(".draw", section).clientWidth)
const short = value => Math.abs(value) >= 10000 ? Math.round(value / 1000) + "k" : String(+value.toPrecision(4))

function axis_time(tick, step) {
  const when = new Date(tick * 1000)
  if (step >= 86400 || seconds > 2 * 86400) return when.toLocaleDateString(undefined, { day: "numeric", month: "short" })
  return when.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })
}

/* The legend is a row of switches, also for the keyboard. */
function legend(plot, section) {
  const labelled = $(".u-legend", section)
  labelled.setAttribute("role", "presentation")
  $(".u-wrap canvas", section).setAttribute("role", "img")
  for (const [index, entry] of $$("th", labelled).entries()) {
    if (!index) continue
    entry.tabIndex = 0
    entry.setAttribute("role", "button")
    const say = () => entry.setAttribute("aria-pressed", plot.series[index].show)
    entry.addEventListener("click", () => setTimeout(say))
    entry.addEventListener("keydown", event => {
      if (event.key !== "Enter" && event.key !== " ") return
      event.preventDefault()
      plot.setSeries(index, { show: !plot.series[index].show })
      say()
    })
    say()
  }
}

function table(section, lines) {
  const body = $(".values tbody", section)
  const cell = value => made("td", { class: "number" }, digits(value))
  body.replaceChildren(...lines.map(({ label, values }) => {
    const known = values.filter(value => value != null)
    return made("tr", {}, made("th", { scope: "row" }, label), cell(known.at(-1)),
      cell(known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null),
      cell(known.length ? known.reduce((most, value) => Math.max(most, value), 0) : null))
  }))
}

for (const section of $$("[data-plot]", board)) {
  const button = made("button", { type: "button", class: "small", "aria-expanded": "false" }, "Values")
  button.setAttribute("aria-label", "Values: " + $("h3", section).firstChild.textContent.trim())
  button.addEventListener("click", () => {
    button.setAttribute("aria-expanded", section.classList.toggle("shown"))
    if (told) one(section, told.plots[section.dataset.plot])
  })
  section.append(button)
}

function point(found) {
  for (const [key, [text, beneath]] of Object.entries(found.figures)) {
    const figure = $(`[data-figure="${CSS.escape(key)}"]`)
    if (!figure) continue
    figure.firstChild.data = text + " "
    figure.nextElementSibling.textContent = beneath
  }
  speak(found)
  if (!moving || !told) return
  const last = told.times.at(-1)
  // Another choice of lines, the first value of one, a clock that was set, or moments that were missed: all anew.
  const first = found.values.some((value, place) => value != null && !placed.has(place))
  if (first || found.layout != null && found.layout !== told.layout || found.time < last || found.time > last + 30) {
    if (found.time !== last) load()
    return
  }
  if (found.time === last) return
  told.times.push(found.time)
  for (const plot of Object.values(told.plots)) {
    plot.values.forEach((values, index) => values.push(found.values[plot.places[index]] ?? null))
  }
  while (told.times[0] < found.time - seconds) {
    told.times.shift()
    for (const plot of Object.values(told.plots)) plot.values.forEach(values => values.shift())
  }
  draw()
}

/* Once in five minutes, for those who do not see the plots. */
function speak(found) {
  if (Date.now() - spoken < 300000 || !found.values.length) return
  spoken = Date.now()
  const told = ["decisions", "let-in", "refused"].filter(key => found.figures[key])
  $("#spoken").textContent = "A second: " + told.map(key => key.replace("-", " ") + " " + found.figures[key][0]).join(", ")
}

function pill(kind, word) {
  const shown = $("#state .state")
  shown.className = "state big " + kind
  if (shown.textContent !== word) shown.textContent = word
  marked(kind)
}

function state(found) {
  stated = found
  pill(found.kind, found.word)
  $("#fault").textContent = found.fault
  $("#dry").hidden = !found.dry_run
  $("#doctor").hidden = !found.doctor
  $("#doctor a").textContent = found.doctor
  $("#reasons").replaceChildren(...[...found.reasons, ...found.warnings].map(text => made("li", {}, text)))
  const about = []
  if (found.version) about.push("mxallowd " + found.version + ", runs since ", moment(found.since))
  if (found.fault && found.answered) about.push(" \u00b7 no answer since ", moment(found.answered))
  $("#about").replaceChildren(...about)
  times($("#about"))
}

/* What is shown is of now, or it says since when it is not. */
function tell(status) {
  const live = status.kind === "live"
  document.body.classList.toggle("old", !live)
  $("#live").textContent = live ? "live" : ""
  if (live && stated) return state(stated)
  if (live) return
  const { when, what } = explained(status)
  pill("broken", when)
  $("#fault").replaceChildren(...what)
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of drawn.values()) plot.destroy()
  drawn.clear()
  draw()
})
new ResizeObserver(() => {
  for (const [section, { plot }] of drawn) {
    if (plot.width !== width(section)) plot.setSize({ width: width(section), height: 210 })
  }
}).observe(board)
follow({ address: () => "/api/stream", events: { state, point }, tell, begun: load })
load()
if (!moving) setInterval(load, 60000)
