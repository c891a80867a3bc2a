/* The log, live: what the filter takes is sent by the server, and put before what is there; the oldest lines go. */
import { follow, told } from "./following.js"
import { $, made, marked, moment, times } from "./parts.js"

const list = $("#log")
const MOST = 500, WORDS = { warning: "state warning", error: "state broken" }
const state = $("#log-state"), none = $("#log-none")
const button = made("button", { type: "button", id: "log-pause" }, "Pause")
let epoch = list.dataset.epoch, last = Number(list.dataset.last), paused = false, waiting = [], fault = "", lost = null
$("#log-filter").append(button)

function tell() {
  state.classList.toggle("stale", Boolean(lost || fault))
  marked(lost || fault ? "broken" : "ok")
  if (lost) state.replaceChildren("Not live, ", lost.when, ". ", ...lost.what)
  else state.textContent = fault ? "Not live: " + fault
    : paused ? "Paused. " + waiting.length + " new lines wait." : "Live. The newest line stands first."
}

function row(line) {
  if (line.gap) return made("li", { class: "gap" }, line.gap)
  const text = made("span", { class: "code text" })
  for (const [part, address] of line.parts) {
    text.append(address ? made("a", { href: "/search?q=" + encodeURIComponent(address) }, part) : part)
  }
  return made("li", {}, made("span", { class: "when" }, moment(line.time)), " ",
    made("span", { class: WORDS[line.level] || "state" }, line.level), " ", text)
}

function show(lines) {
  const rows = lines.slice(-MOST).map(row).reverse()
  list.prepend(...rows)
  rows.forEach(one => times(one))
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

button.addEventListener("click", () => {
  paused = !paused
  button.textContent = paused ? "Resume" : "Pause"
  if (!paused) {
    show(waiting)
    waiting = []
  }
  tell()
})

const { level, word, q } = list.dataset
follow({
  address: () => "/api/log?" + new URLSearchParams({ level, word, q, epoch, after: last }),
  events: { lines: take, state: news => { fault = news.fault; tell() } },
  tell: status => { lost = status.kind === "live" ? null : told(status); tell() },
})
