// Feed health: who is connected, how far behind, what was missed, late or rejected.

import { count, duration, moment, NOTHING, plain, share } from "./format.js";
import { channelOf } from "./heard.js";
import { Painter } from "./painter.js";
import { element, setText } from "./parts.js";
import { Rows } from "./rows.js";

const GAPS_MAX = 20;
const CHANNELS_NAMED = 3;
/** Rows of a partition that are older are behind. */
const STALE_MS = 3_000;

/** Whether the rows of a partition hold all there is, or nearly. */
export const fresh = ({ recovering, stale_ms }) => !recovering && stale_ms !== null && stale_ms <= STALE_MS;

export class Health {
  constructor(model) {
    this.model = model;
    this.gaps = new Rows(element("gaps"), (gap) => this.gapCells(gap));
    this.connections = new Rows(element("connections"), (one) => this.connectionCells(one));
    this.members = new Rows(element("members"), (one) => this.memberCells(one));
    this.partitions = new Rows(element("partitions"), (one) => this.partitionCells(one));
    this.painter = new Painter(() => this.paint());
    element("partitions-details").addEventListener("toggle", () => this.painter.want());
  }

  paint() {
    this.paintGaps();
    const { health } = this.model;
    if (health === null) return;
    this.paintFacts(health);
    if (!element("partitions-details").open) return;
    this.connections.show(health.feed, (one) => one.connection);
    this.members.show(health.members, (one) => one.url);
    this.partitions.show(health.partitions, (one) => `${one.topic} ${one.partition}`);
  }

  paintFacts({ at_ms, feed, members, partitions, counts }) {
    setFact("health-feed", ...this.feed(feed));
    setFact("health-coverage", ...this.coverage());
    const lag = partitions.reduce((sum, one) => sum + (one.lag ?? 0), 0);
    setFact("health-lag", `${count(lag)} records`, lag > 10_000);
    const marked = partitions.filter((one) => one.watermark_ms > 0);
    const delay = Math.max(...marked.map((one) => at_ms - one.watermark_ms));
    setFact("health-watermark", marked.length > 0 ? duration(delay) : NOTHING, delay > 60_000);
    const rate = this.model.framesPerSecond;
    setFact("health-frames", `${count(counts.frames)}${rate === null ? "" : `, ${count(rate)} a second`}`);
    setFact("health-late", count(counts.late ?? 0), counts.late > 0);
    const rejected = Object.entries(counts.rejected ?? {}).filter(([, number]) => number > 0);
    const total = rejected.reduce((sum, [, number]) => sum + number, 0);
    const reasons = rejected.map(([reason, number]) => `${plain(reason)} ${count(number)}`).join(", ");
    setFact("health-rejected", total === 0 ? "0" : `${count(total)}: ${reasons}`, total > 0);
    const behind = partitions.filter((one) => !fresh(one)).length;
    const andBehind = behind === 0 ? "" : `, ${count(behind)} partitions behind`;
    setFact("health-members", `${count(members.length)}${andBehind}`, behind > 0);
  }

  feed(connections) {
    const { channels, open } = this.model.heard;
    if (channels.size === 0) return ["no marks: nobody can say"];
    if (open.size === channels.size) return [`not heard since ${this.moment(Math.max(...open.values()))} UTC`, true];
    if (open.size > 0) return [`${count(open.size)} of ${count(channels.size)} channels not heard`, true];
    const up = connections.filter((one) => one.up).length;
    return [`heard, ${count(up)} connection${up > 1 ? "s" : ""}`];
  }

  /** How much of the last full window was heard, of the worst channel that published one. */
  coverage() {
    const { model } = this;
    if (model.size === null) return [NOTHING];
    const shares = [];
    for (const kind of ["liquidations", "imbalance"]) {
      for (const { windows } of model[kind].series.values()) {
        for (const start of [model.runningMs() - model.size.ms, model.runningMs() - 2 * model.size.ms]) {
          const window = windows.get(start);
          if (!window?.final) continue;
          shares.push(window.coverage);
          break;
        }
      }
    }
    if (shares.length === 0) return [NOTHING];
    if (shares.includes(null)) return ["nobody can say"];
    const least = shares.reduce((a, b) => Math.min(a, b), 1);
    return [share(least), least < 1];
  }

  paintGaps() {
    const { heard } = this.model;
    const open = heard.openGaps().map((gap) => ({ ...gap, open: true, why: "" }));
    const gaps = [...open, ...(heard.gaps ?? [])].sort((a, b) => b.from - a.from);
    this.gaps.show(gaps.slice(0, GAPS_MAX), (gap) => `${gap.from} ${gap.open} ${[...gap.channels][0]}`);
    const more = gaps.length - GAPS_MAX;
    const none = heard.gaps === null ? "The gaps cannot be read now." : "None in the time that the charts show.";
    setText("gaps-note", gaps.length === 0 ? none : more > 0 ? `and ${count(more)} older ones` : "");
  }

  connectionCells({ connection, up, heard_at_ms, channels }) {
    const ago = `${duration(this.model.health.at_ms - heard_at_ms)} ago`;
    return [plain(connection), up ? "up" : "down", ago, named(channels.map(channelOf))];
  }

  memberCells({ url, sources }) {
    const owned = this.model.health.partitions.filter((one) => one.owner === url);
    const behind = owned.filter((one) => !fresh(one)).length;
    const state = behind === 0 ? "up to date" : `behind with ${count(behind)} partitions`;
    return [plain(url), state, sources.map(([topic, partition]) => `${plain(topic)} ${partition}`).join(", ")];
  }

  partitionCells({ topic, partition, owner, recovering, stale_ms, lag, watermark_ms }) {
    const marked = watermark_ms > 0;
    return [
      `${plain(topic)} ${partition}`,
      plain(owner ?? NOTHING),
      recovering ? "being recovered" : stale_ms > STALE_MS ? `${duration(stale_ms)} behind` : "up to date",
      lag === null || lag === undefined ? NOTHING : count(lag),
      marked ? this.moment(watermark_ms) : NOTHING,
      marked ? duration(this.model.health.at_ms - watermark_ms) : NOTHING,
    ];
  }

  gapCells({ from, to, open, channels, why }) {
    const ended = open ? "not over" : this.moment(to);
    return [this.moment(from), ended, duration(to - from), named([...channels]), plain(why)];
  }

  moment(ms) {
    return moment(ms, this.model.nowMs());
  }
}

function named(channels) {
  const some = channels.slice(0, CHANNELS_NAMED).map(plain).join(", ");
  const more = channels.length - CHANNELS_NAMED;
  return more > 0 ? `${some} and ${count(more)} more` : some;
}

function setFact(id, text, worrying = false) {
  setText(id, text);
  element(id).classList.toggle("worrying", worrying);
}
