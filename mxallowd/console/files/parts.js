/* What all scripts of the pages share: elements, times, the mark in the title. It sets text and never HTML. */
export const $ = (what, within = document) => within.querySelector(what)
export const $$ = (what, within = document) => [...within.querySelectorAll(what)]

/** An element with these attributes and children; text is text. */
export function made(name, attributes = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

/* Times: a page tells UTC, and says so; here the own zone is added, and how long ago that is. */
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]
const FULL = { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" }
const SINCE = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" })

function ago(seconds) {
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= 2 * size || unit === "second") return SINCE.format(-Math.round(seconds / size), unit)
  }
}

export function times(within = document) {
  for (const element of $$("time[datetime]", within)) {
    const when = new Date(element.dateTime)
    if (isNaN(when)) continue
    if (!element.title) element.title = when.toLocaleString(undefined, { ...FULL, timeZoneName: "short" })
    let beside = element.nextElementSibling
    if (!beside || !beside.classList.contains("ago")) {
      beside = made("span", { class: "ago" })
      element.after(" ", beside)
    }
    const text = "(" + ago((Date.now() - when) / 1000) + ")"
    if (beside.textContent !== text) beside.textContent = text
  }
}

/** A time of the daemon as render.py shows one. */
export function moment(when) {
  return made("time", { datetime: when }, when.slice(0, 19).replace("T", " ") + " UTC")
}

/** The name of the own zone, as at that time: plots have its times. */
export function zone(when = new Date()) {
  return new Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(when)
    .find(part => part.type === "timeZoneName").value
}

/** Put this mark of a state before the title of the page, in place of the last one. */
const NAME = document.title
export function marked(kind) {
  document.title = (kind === "broken" ? "\u2715 " : kind === "warning" ? "! " : "") + NAME
}
