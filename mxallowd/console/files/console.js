/* The script of all pages, one small module. Every page can be read without it: it adds the local time, keys, a question
   before what cannot be undone, and, on the overview, plots that move. It sets text and never HTML. */
const $ = (what, within = document) => within.querySelector(what)
const $$ = (what, within = document) => [...within.querySelectorAll(what)]

/** An element with these attributes and children; text is text. */
function made(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

/* Times: the server tells UTC; here the own zone is added, and how long ago that is. */
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]
const SINCE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" })

function ago(seconds) {
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= 2 * size || unit === "second") return SINCE.format(-Math.round(seconds / size), unit)
  }
}

function times(within = document) {
  for (const element of $$("time[datetime]", within)) {
    const when = new Date(element.dateTime)
    if (isNaN(when)) continue
    if (!element.title) element.title = when.toLocaleString() + " (" + element.textContent + " UTC)"
    let beside = element.nextElementSibling
    if (!beside || !beside.classList.contains("ago")) {
      beside = made("span", { class: "ago" })
      element.after(" ", beside)
    }
    const text = "(" + ago((Date.now() - when) / 1000) + ")"
    if (beside.textContent !== text) beside.textContent = text
  }
}
times()
setInterval(times, 20000)

/* What may scroll sideways, and has nothing in it that takes the focus, takes it itself: keys can scroll it then. */
for (const one of $$(".wide")) {
  if ($("a, button, input", one)) continue
  const caption = $("caption", one)
  one.tabIndex = 0
  one.setAttribute("role", "region")
  one.setAttribute("aria-label", caption ? caption.textContent : "Table")
}

/* Keys: "/" for the search, "g" and a letter for a page, "?" for the keys. */
const pages = new Map()
for (const link of $$("header nav a")) {
  const letter = [...link.textContent.trim().toLowerCase()].find(one => /[a-z]/.test(one) && !pages.has(one))
  if (letter) pages.set(letter, link)
}
let going = 0

function keys() {
  const rows = [["/", "Search"], ["?", "These keys"], ["Esc", "Close, leave the search"]]
  for (const [letter, link] of pages) rows.push(["g " + letter, link.textContent.trim()])
  const list = made("tbody", {}, ...rows.map(([key, what]) => made("tr", {},
    made("th", { scope: "row" }, ...key.split(" ").flatMap(one => [made("kbd", {}, one), " "])), made("td", {}, what))))
  const dialog = made("dialog", { "aria-labelledby": "keys" }, made("h2", { id: "keys" }, "Keys"),
    made("table", {}, list), made("form", { method: "dialog" }, made("button", {}, "Close")))
  opened(dialog)
}

function opened(dialog) {
  document.body.append(dialog)
  dialog.addEventListener("close", () => dialog.remove())
  dialog.showModal()
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("dialog[open]")) return
  const within = event.target
  if (within.matches && within.matches("input:not([type=checkbox]):not([type=radio]), textarea, select")) {
    if (event.key === "Escape") within.blur()
    return
  }
  if (event.key === "/" && $("#find")) {
    event.preventDefault()
    $("#find").focus()
    $("#find").select()
  } else if (event.key === "?") {
    event.preventDefault()
    keys()
  } else {
    const link = going && event.timeStamp - going < 1500 && pages.get(event.key)
    going = event.key === "g" && !link ? event.timeStamp : 0
    if (link) link.click()
  }
})

/* A form with data-confirm asks before it is sent; also where a button of it has one. */
document.addEventListener("submit", event => {
  const form = event.target, by = event.submitter
  const question = (by && by.dataset.confirm) || form.dataset.confirm
  if (!question || form.dataset.sure) return
  event.preventDefault()
  const dialog = made("dialog", { "aria-labelledby": "question" }, made("p", { id: "question" }, question),
    made("form", { method: "dialog" }, made("button", { value: "no", autofocus: "" }, "Cancel"),
      made("button", { value: "yes", class: "first" }, (by && by.textContent.trim()) || "Yes")))
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return
    form.dataset.sure = "1"
    form.requestSubmit(by)
    delete form.dataset.sure
  })
  opened(dialog)
})

/* Commands to type can be copied; without script there is no button. */
if (navigator.clipboard) {
  for (const command of $$("pre.command")) {
    const button = made("button", { type: "button", class: "copy" }, "Copy")
    const text = command.textContent.trim()
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text)
      button.textContent = "Copied"
      setTimeout(() => { button.textContent = "Copy" }, 2000)
    })
    command.after(button)
  }
}

/* The overview: the state and the numbers of now by server-sent events, plots of what /api/history tells. A window that
   nobody sees has no stream: a browser has six connections to a server for all its windows. */
const board = $("#plots")
if (board) overview()

function overview() {
  const range = board.dataset.range, seconds = +board.dataset.seconds, moving = range === "10m"
  const name = document.title
  const drawn = new Map()  // by plot: { plot, lines, columns }
  let told = null, placed = new Set(), loaded = 0, source = null, heard = Date.now(), silent = false, spoken = 0, tried = 0

  const colour = variable => getComputedStyle(document.documentElement).getPropertyValue(variable).trim()
  const digits = value => value == null ? "\u2013" : value >= 100 || Number.isInteger(value)
    ? Math.round(value).toLocaleString("en").replaceAll(",", "\u202f") : value.toFixed(value < 1 ? 2 : 1)
  const clock = when => new Date(when).toLocaleTimeString()

  async function load() {
    if (Date.now() - loaded < 2000) return
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
    if (plot.cursor.idx == null) plot.setLegend({ idx: told.times.length - 1 })
    $("canvas", section).setAttribute("aria-label", spoken_of(section, all))
    if (section.classList.contains("shown")) table(section, all)
  }

  function spoken_of(section, lines) {
    const values = lines.map(line => line.label + " " + digits(line.values.at(-1))).join(", ")
    return $("h3", section).textContent.trim().replace(/\s+/g, " ") + ", now: " + values
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
        { label: "time", value: (_, when) => when == null ? "\u2013"
          : seconds > 86400 ? new Date(when * 1000).toLocaleString() : clock(when * 1000) },
        ...lines.map(line => ({
          label: line.label, stroke: colour("--s" + (line.index % 8 + 1)), width: 2, spanGaps: false,
          points: { size: 4 }, value: (_, value) => digits(value) + (percent && value != null ? " %" : "") }))],
      hooks: { setCursor: [plot => { if (plot.cursor.idx == null && told) plot.setLegend({ idx: told.times.length - 1 }, false) }] },
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
      return made("tr", {}, made("th", { scope: "row" }, label), cell(values.at(-1)),
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

  function state(found) {
    const pill = $("#state .state")
    pill.className = "state big " + found.kind
    if (pill.textContent !== found.word) pill.textContent = found.word
    document.title = (found.kind === "broken" ? "\u2715 " : found.kind === "warning" ? "! " : "") + name
    $("#fault").textContent = found.fault
    $("#dry").hidden = !found.dry_run
    $("#reasons").replaceChildren(...[...found.reasons, ...found.warnings].map(text => made("li", {}, text)))
    const about = []
    const time = when => made("time", { datetime: when }, when.slice(0, 19).replace("T", " "))
    if (found.version) about.push("mxallowd " + found.version + ", runs since ", time(found.since))
    if (found.fault) about.push(...found.answered ? [" \u00b7 no answer since ", time(found.answered)]
      : [" It has not answered this console yet."])
    $("#about").replaceChildren(...about)
    times($("#about"))
  }

  function live() {
    const late = Date.now() - heard > 8000
    // After a fault that is an answer, such as the end of a session, a browser does not try again by itself.
    if (late && source && source.readyState === EventSource.CLOSED && Date.now() - tried > 10000) connect()
    if (late === silent && $("#live").textContent) return
    silent = late
    $("#live").className = late ? "stale" : "quiet"
    $("#live").textContent = late ? "no data from the console since " + clock(heard) + "; trying again" : "live"
  }

  function connect() {
    if (source) source.close()
    tried = Date.now()
    source = new EventSource("/api/stream")
    source.addEventListener("open", load)
    for (const [kind, take] of [["state", state], ["point", point]]) {
      source.addEventListener(kind, event => {
        heard = Date.now()
        take(JSON.parse(event.data))
      })
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source.close()
      source = null
    } else {
      heard = Date.now()
      connect()
    }
  })
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
  connect()
  load()
  setInterval(live, 1000)
  if (!moving) setInterval(() => { if (!document.hidden) load() }, 60000)
}

/* The log, live: what the filter takes is sent by the server, and put before what is there; the oldest lines go. While
   nobody sees the page, it asks for nothing. */
function follow(list) {
  const MOST = 500, WORDS = { warning: "state warning", error: "state broken" }
  const state = $("#log-state"), none = $("#log-none")
  const button = made("button", { type: "button", id: "log-pause" }, "Pause")
  let epoch = list.dataset.epoch, last = Number(list.dataset.last), source = null, paused = false, waiting = [], fault = ""
  $("#log-filter").append(button)

  function tell() {
    state.textContent = fault ? "Not live: " + fault
      : paused ? "Paused. " + waiting.length + " new lines wait." : "Live. The newest line stands first."
    state.classList.toggle("stale", Boolean(fault))
  }

  function row(line) {
    if (line.gap) return made("li", { class: "gap" }, line.gap)
    const text = made("span", { class: "code text" })
    for (const [part, address] of line.parts) {
      text.append(address ? made("a", { href: "/search?q=" + encodeURIComponent(address) }, part) : part)
    }
    const when = made("time", { datetime: line.time }, line.time.slice(0, 19).replace("T", " "))
    when.title = new Date(line.time).toLocaleString() + " (" + when.textContent + " UTC)"
    return made("li", {}, made("span", { class: "when" }, when), " ",
      made("span", { class: WORDS[line.level] || "state" }, line.level), " ", text)
  }

  function show(lines) {
    const rows = lines.slice(-MOST).map(row).reverse()
    list.prepend(...rows)
    while (list.children.length > MOST) list.lastElementChild.remove()
    none.hidden = list.children.length > 0
  }

  function take(news) {
    const lines = []
    if (news.epoch !== epoch) {
      if (epoch) lines.push({ gap: "The daemon was started again." })
      epoch = news.epoch
      last = 0
    }
    if (news.lost) lines.push({ gap: news.lost + " lines are not shown: more came than this page takes." })
    for (const line of news.lines) {
      // After an interruption, some come twice.
      if (line.number <= last) continue
      last = line.number
      lines.push(line)
    }
    if (paused) waiting = waiting.concat(lines).slice(-MOST)
    else show(lines)
    if (paused) tell()
  }

  function open() {
    const { level, word, q } = list.dataset
    source = new EventSource("/api/log?" + new URLSearchParams({ level, word, q, epoch, after: last }))
    source.addEventListener("lines", event => take(JSON.parse(event.data)))
    source.addEventListener("state", event => { fault = JSON.parse(event.data).fault; tell() })
    source.addEventListener("error", () => { fault = "the console does not answer"; tell() })
  }

  function close() {
    if (source) source.close()
    source = null
  }

  button.addEventListener("click", () => {
    paused = !paused
    button.textContent = paused ? "Resume" : "Pause"
    if (!paused) {
      show(waiting)
      waiting = []
    }
    tell()
  })
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close()
    else if (!source) open()
  })
  addEventListener("pagehide", close)
  addEventListener("pageshow", event => { if (event.persisted && !source) open() })
  open()
}
if ($("#log")) follow($("#log"))
