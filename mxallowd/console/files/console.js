/* The script of all pages. Every page can be read without it: it adds the local time, keys, and a question before what
   cannot be undone. What moves has a script of its page. Pages name all modules, so that a browser asks for all at once. */
import { $, $$, made, times } from "./parts.js"

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
