// The page of the API: see web/docs.py. Finds calls and schemas, and opens what a link leads to.
// Without it, everything is there, and is opened by hand.

const wide = matchMedia("(min-width: 64rem)"); // as in docs.css
const list = document.querySelector("nav details");
const box = document.getElementById("find");
const told = document.getElementById("found");
const preface = document.querySelector("main > header");

const entries = [...document.querySelectorAll("details.entry")].map((details) => {
  const id = details.querySelector("article").id;
  const named = [...details.querySelectorAll("summary h3, .gist, tbody th code, .shared code")];
  return {
    details,
    id,
    words: [id, ...named.map((one) => one.textContent)].join(" ").toLowerCase(),
    item: document.querySelector(`nav a[href="#${id}"]`).closest("li"),
  };
});

// What stands around entries is hidden where none of them is left.
const around = [...document.querySelectorAll("section, nav details > ul > li")].filter((one) =>
  one.querySelector("details.entry, li"),
);

function find() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const entry of entries) {
    const fits = words.every((word) => entry.words.includes(word));
    entry.details.hidden = !fits;
    entry.item.hidden = !fits;
    count += fits ? 1 : 0;
  }
  for (const one of around) {
    one.hidden = !one.querySelector("details.entry:not([hidden]), li:not([hidden])");
  }
  preface.hidden = words.length > 0;
  told.textContent = words.length ? `${count} of ${entries.length}` : "";
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target?.closest("details.entry");
  if (!details) return;
  if (details.hidden) {
    box.value = "";
    find();
  }
  details.open = true;
  target.scrollIntoView();
}

box.addEventListener("input", find);
box.addEventListener("keydown", (event) => {
  const first = entries.find((entry) => !entry.details.hidden);
  if (event.key === "Enter" && first) location.hash = first.id;
});

addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link) return;
  if (!wide.matches && list.contains(link)) list.open = false;
  if (link.hash === location.hash) reveal(); // which is no change, but it may have been closed
});

// On a phone, the list of calls is opened when it is wanted.
function fit() {
  list.open = wide.matches;
}
wide.addEventListener("change", fit);

// On paper, everything is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("main details:not([open])")];
  for (const one of closed) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of closed) one.open = false;
});

fit();
box.closest("search").hidden = false;
find(); // a browser may have kept what was typed
reveal();
