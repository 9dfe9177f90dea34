/*
 * Small pieces of the page: nodes, buttons, tabs, times, and requests as text. The page builds its
 * markup from nodes, never from text.
 */

/** Run what a button or form asks for; meanwhile nobody can press the button. */
export async function during(event, work) {
  event.preventDefault();
  const button = event.submitter ?? event.currentTarget;
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true"; // not disabled: that would lose the focus
  try {
    await work();
  } finally {
    button.ariaDisabled = null;
  }
}

/** Count down on a button that sends again; the person may press it earlier. */
let countdown = 0;
export function repeatLater(button, text, seconds) {
  clearInterval(countdown);
  const until = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.textContent = left > 0 ? `${text}, in ${left} s` : text;
    if (left <= 0) clearInterval(countdown);
  };
  countdown = setInterval(tick, 250);
  tick();
}

/** Make a tab list work by mouse and by arrow keys (ARIA Authoring Practices: tabs). */
export function tabs(list) {
  const all = [...list.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const tab of all) {
      tab.ariaSelected = String(tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  };
  list.addEventListener("click", (event) => all.includes(event.target) && choose(event.target));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    choose(next);
    next.focus();
  });
  choose(all.find((tab) => tab.ariaSelected === "true") ?? all[0]);
}

/** A span of time in the reader's own zone. */
export function localSpan(start, end) {
  const [from, to] = [new Date(start), new Date(end)];
  const day = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
  const clock = { hour: "2-digit", minute: "2-digit" };
  const [begins, ends] = [from, to].map((moment) => moment.toLocaleTimeString(undefined, clock));
  return `${from.toLocaleDateString(undefined, day)}, ${begins} to ${ends}`;
}

/** A request as a person reads it; it shows only the kind of the token. */
export function textOf({ path, method, headers, body }) {
  const shown = Object.entries(headers).map(
    ([name, value]) => `${name}: ${name === "Authorization" ? "Bearer …" : value}`,
  );
  return [`${method} ${path}`, ...shown, "", JSON.stringify(JSON.parse(body), null, 2)].join("\n");
}

/** The same request as a shell command. Its token is worth nothing outside this stack. */
export function curlOf(facade, { path, method, headers, body }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  return [
    `curl -X ${method} ${quoted(facade + path)}`,
    ...lines,
    `--data-binary ${quoted(body)}`,
  ].join(" \\\n  ");
}

/** A text that may be broken after each `_`, as codes are long and a phone is narrow. */
export function breakable(text) {
  return String(text)
    .split(/(?<=_)/)
    .flatMap((part) => [part, node("wbr", {})]);
}

export function node(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export function show(place, text) {
  place.textContent = text;
  place.hidden = false;
}
