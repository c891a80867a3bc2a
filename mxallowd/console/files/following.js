/* What comes from the console by itself: one stream of server-sent events, for the overview and for the log.

   Its one rule: what is old never looks as if it were of now. A page that has heard nothing for SILENT_MS is told so, and
   the stream is opened again, also after an answer that is an error, which a browser leaves alone; the pauses grow up to
   MOST_MS. GET /api/session says whether the session has ended: the page asks for a log-in then, and is loaded anew
   once somebody has logged in, by another window too, since its forms are of the old session. It is also loaded anew
   where the console is of another build. A window that nobody sees has no stream: a browser has six connections to a
   server for all its windows. */
import { made, zone } from "./parts.js"

const SILENT_MS = 10000, FIRST_MS = 1000, MOST_MS = 30000, ANSWER_MS = 5000
const SEEN_MS = 3000  // after it is seen again, until it is told to be silent
const BUILD = document.documentElement.dataset.build

/** Follow the stream at address(). `events` takes the data of each event by its name; `tell` is called with what became
    of the stream whenever that changes: its kind (live, lost, ended), since when no data came, and why. `begun` is called
    at the begin of each stream: what came since the last one was missed. */
export function follow({ address, events, tell, begun = () => {} }) {
  let source = null, timer = 0, pause = FIRST_MS, opened = 0, heard = Date.now(), seen = heard, round = 0
  let kind = "", ended = false, why = "the console sends nothing new", said = ""

  function become(now) {
    kind = now
    if (said === (said = now === "lost" ? why : now)) return
    tell({ kind, since: new Date(heard), why })
  }

  function close() {
    if (source) source.close()
    source = null
    clearTimeout(timer)
    round += 1
  }

  function open() {
    close()
    opened = Date.now()
    source = new EventSource(address())
    const on = (name, take) => source.addEventListener(name, event => {
      heard = Date.now()
      pause = FIRST_MS
      take(event.data && JSON.parse(event.data))
      become("live")
    })
    on("console", told => renew(told) || begun())
    on("beat", () => {})
    for (const [name, take] of Object.entries(events)) on(name, take)
    // The session has ended, or the console goes: which one is asked.
    source.addEventListener("ended", failed)
    source.addEventListener("error", failed)
  }

  /* Once for each build: a cache between that holds an old page must not make it load for ever. */
  function renew({ build }) {
    if (build === BUILD || sessionStorage.getItem("build") === build) return false
    sessionStorage.setItem("build", build)
    location.reload()
    return true
  }

  async function failed() {
    close()
    const mine = round
    const answer = await fetch("/api/session", { signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => null)
    if (mine !== round) return
    if (answer && answer.ok && ended) return location.reload()
    if (answer) ended = answer.status === 401
    why = answer ? "the console sends nothing new" : "the console does not answer"
    if (ended) become("ended")
    else judge()
    timer = setTimeout(ended ? failed : open, pause)
    pause = Math.min(MOST_MS, pause * 2)
  }

  const old = (since, limit) => Math.abs(Date.now() - since) > limit  // a clock may be set, either way

  function judge() {
    if (!ended && old(heard, SILENT_MS) && old(seen, SEEN_MS)) become("lost")
  }

  function watch() {
    if (document.hidden) return
    judge()
    if (source && old(heard, SILENT_MS) && old(opened, SILENT_MS)) failed()
  }

  function again() {
    seen = Date.now()
    pause = FIRST_MS
    if (ended) failed()
    else open()
  }

  document.addEventListener("visibilitychange", () => document.hidden ? close() : again())
  addEventListener("pagehide", close)
  addEventListener("pageshow", event => { if (event.persisted) again() })
  setInterval(watch, 1000)
  if (!document.hidden) open()
}

/** What a page says of a stream without data: since when, and what comes next. */
export function told({ kind, since, why }) {
  const time = since.toLocaleTimeString() + " " + zone(since)
  const when = Date.now() - since < 12 * 3600000 ? time : since.toLocaleDateString() + " " + time
  const back = "/login?next=" + encodeURIComponent(location.pathname + location.search)
  return { when: "no data since " + when,
    what: kind === "ended" ? ["You are logged out: ", made("a", { href: back }, "log in again")]
      : [why + "; trying again"] }
}
