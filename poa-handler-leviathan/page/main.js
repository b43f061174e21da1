// Connects the parts of the page.

import * as api from "./api.js";
import { Detail } from "./detail.js";
import { Feed } from "./feed.js";
import { Networks } from "./networks.js";
import { Picture, write } from "./picture.js";
import { ask } from "./sign-in.js";

const byId = (id) => document.getElementById(id);

const networks = new Networks();
const picture = new Picture(networks, open);
const detail = new Detail(networks, (shown) => {
  picture.choose(undefined);
  if (shown.kind === "new") byId("new").focus();
  else picture.focus(shown);
});
const feed = new Feed({ path: "monitor", protocols: api.protocols, probe: api.probe }, { message, connected, lost, locked });

let waits = false;

function open(shown) {
  picture.choose(shown);
  detail.open(shown);
}

function message(frame) {
  if (frame.host === undefined) return;
  const before = networks.totals();
  networks.apply(frame);
  write(byId("host"), networks.host);
  if (!frame.whole) announce(before, networks.totals());
  // Several changes are drawn as one, when the browser draws.
  if (!waits) requestAnimationFrame(draw);
  waits = true;
}

function draw() {
  waits = false;
  showEmpty(picture.draw());
  detail.changed();
  for (const [kind, { all, up, bad, between }] of Object.entries(networks.totals())) {
    write(byId(`${kind}-all`), String(all));
    write(byId(`${kind}-up`), String(up));
    const parts = byId(`${kind}-bar`).children;
    for (const [n, share] of [up, between, bad].entries()) {
      parts[n].style.flexGrow = share;
      parts[n].hidden = share === 0;
    }
  }
}

function showEmpty(shown) {
  byId("empty").hidden = shown > 0;
  const text = networks.cens.size > 0 ? "No network has this in a name or an address." : "There are no networks yet. “New network” makes one.";
  write(byId("empty"), text);
}

// Says what people who cannot see the picture should know.
function announce(before, { cens, cins, containers }) {
  const news = [];
  if (cens.bad > before.cens.bad) news.push("a segment failed");
  if (cins.bad > before.cins.bad) news.push("an IP network failed");
  if (containers.bad > before.containers.bad) news.push(`${containers.bad} containers are missing`);
  if (cens.up !== before.cens.up) news.push(`${cens.up} of ${cens.all} segments are ready`);
  if (news.length > 0) byId("announce").textContent = news.join("; ");
}

function connected() {
  document.body.dataset.connection = "live";
  byId("connection").textContent = "Live";
  byId("lost").hidden = true;
}

function lost({ since }) {
  document.body.dataset.connection = "lost";
  byId("connection").textContent = "Disconnected";
  byId("lost-since").textContent = `since ${new Date(since).toLocaleTimeString()}.`;
  byId("lost").hidden = false;
}

async function locked() {
  byId("lost").hidden = true;
  await ask(api.exchange);
  feed.connect();
}

byId("filter").addEventListener("input", (event) => showEmpty(picture.filter(event.target.value)));
byId("new").addEventListener("click", () => open({ kind: "new" }));
byId("retry").addEventListener("click", () => feed.retryNow());
byId("detail").addEventListener("show", (event) => open(event.detail));

feed.connect();
