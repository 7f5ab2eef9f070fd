// How things stand between the page and the worker: the line at the top, the banners, and the form for a token.

import { keepToken } from "./api.js";
import { duration, moment, plain } from "./format.js";
import { fresh } from "./health.js";
import { element, setText } from "./parts.js";

const NAMED_MAX = 3;

export class Status {
  constructor(model) {
    this.model = model;
    this.connected = false;
    this.since = null; // the worker's time as the connection was lost; null while live
  }

  /** See `follow` in live.js. */
  show(kind, detail) {
    const live = kind === "live";
    if (this.connected && !live) this.since = this.model.nowMs();
    if (live) this.since = null;
    this.connected = live;
    element("state").dataset.state = kind;
    element("token-form").hidden = kind !== "token";
    element("main").classList.toggle("stale", !live);
    if (kind === "token") setText("token-said", detail);
    setText("state-text", this.inWords(kind, detail));
  }

  inWords(kind, detail) {
    const shown = this.since === null ? "" : `; what you see is from ${moment(this.since, this.model.nowMs())} UTC`;
    if (kind === "live") return "live";
    if (kind === "token") return "a token is needed";
    if (kind === "paused") return `paused while nobody looks${shown}`;
    if (kind === "connecting") return `connecting…${shown}`;
    return `not connected, trying again in ${duration(detail.retryMs)}${shown} (${detail.message})`;
  }

  /** Say what is wrong; an empty text ends it. */
  trouble(text) {
    banner("banner", text);
  }

  /** Say so where some of it is old: a worker is gone, or catching up. */
  lag(partitions) {
    const behind = partitions.filter((one) => !fresh(one));
    if (behind.length === 0) return banner("lag", "");
    const names = behind.slice(0, NAMED_MAX).map((one) => `${plain(one.topic)} ${one.partition}`).join(", ");
    const more = behind.length > NAMED_MAX ? ` and ${behind.length - NAMED_MAX} more` : "";
    const oldest = Math.max(...behind.map((one) => one.stale_ms ?? 0));
    const age = oldest > 0 ? `what you see of them is ${duration(oldest)} old` : "they are being recovered";
    banner("lag", `Behind: partitions ${names}${more}; ${age}.`);
  }

  /** Resolves once another token was given. */
  token() {
    element("token").focus();
    return new Promise((resolve) => {
      const take = (event) => {
        event.preventDefault();
        keepToken(element("token").value.trim());
        element("token").value = "";
        resolve();
      };
      element("token-form").addEventListener("submit", take, { once: true });
    });
  }
}

function banner(id, text) {
  setText(id, text);
  element(id).hidden = text === "";
}
