// Feed health: who is connected, how far behind, what was missed, late or rejected.

import { count, duration, NOTHING, plain, second, share } from "./format.js";
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
    this.gaps = new Rows(element("gaps"), (gap) => gapCells(gap));
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
    const up = feed.filter((one) => one.up && at_ms - one.heard_at_ms < 5_000).length;
    const heardAt = Math.max(...feed.map((one) => one.heard_at_ms));
    const feedText = feed.length === 0 ? "no marks: nobody can say" : up > 0 ? `heard, ${count(up)} connection${up > 1 ? "s" : ""}` : `not heard since ${second(heardAt)} UTC`;
    setFact("health-feed", feedText, feed.length > 0 && up === 0);
    setFact("health-coverage", ...this.coverage());
    const lag = partitions.reduce((sum, one) => sum + (one.lag ?? 0), 0);
    setFact("health-lag", `${count(lag)} records`, lag > 10_000);
    const behind = Math.max(...partitions.filter((one) => one.watermark_ms > 0).map((one) => at_ms - one.watermark_ms));
    setFact("health-watermark", Number.isFinite(behind) ? duration(behind) : NOTHING, behind > 60_000);
    const rate = this.model.framesPerSecond;
    setFact("health-frames", `${count(counts.frames)}${rate === null ? "" : `, ${count(rate)} a second`}`);
    setFact("health-late", count(counts.late ?? 0), counts.late > 0);
    const rejected = Object.entries(counts.rejected ?? {}).filter(([, number]) => number > 0);
    const total = rejected.reduce((sum, [, number]) => sum + number, 0);
    const reasons = rejected.map(([reason, number]) => `${plain(reason)} ${count(number)}`).join(", ");
    setFact("health-rejected", total === 0 ? "0" : `${count(total)}: ${reasons}`, total > 0);
    const moving = partitions.filter((one) => !fresh(one)).length;
    setFact("health-members", moving === 0 ? count(members.length) : `${count(members.length)}, ${count(moving)} partitions behind`, moving > 0);
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
    const channels = new Set(heard.feed.flatMap((one) => [...one.channels]));
    const open = new Map(); // gaps that began together are one row
    for (const channel of channels) {
      const gap = heard.openGap(channel);
      if (gap === null) continue;
      const row = open.get(gap.from) ?? { ...gap, to: null, length: gap.to - gap.from, channels: new Set(), why: "" };
      row.channels.add(channel);
      open.set(gap.from, row);
    }
    const closed = (heard.gaps ?? []).map((gap) => ({ ...gap, length: gap.to - gap.from }));
    const gaps = [...open.values(), ...closed].sort((a, b) => b.from - a.from);
    this.gaps.show(gaps.slice(0, GAPS_MAX), (gap) => `${gap.from} ${gap.to} ${[...gap.channels][0]}`);
    const more = gaps.length - GAPS_MAX;
    const none = heard.gaps === null ? "The gaps cannot be read now." : "None in the time that the charts show.";
    setText("gaps-note", gaps.length === 0 ? none : more > 0 ? `and ${count(more)} older ones` : "");
  }

  connectionCells({ connection, up, heard_at_ms, channels }) {
    return [plain(connection), up ? "up" : "down", `${duration(this.model.health.at_ms - heard_at_ms)} ago`, named(channels.map(channelOf))];
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
      marked ? second(watermark_ms) : NOTHING,
      marked ? duration(this.model.health.at_ms - watermark_ms) : NOTHING,
    ];
  }
}

const gapCells = ({ from, to, length, channels, why }) =>
  [second(from), to === null ? "not over" : second(to), duration(length), named([...channels]), plain(why)];

function named(channels) {
  const some = channels.slice(0, CHANNELS_NAMED).map(plain).join(", ");
  const more = channels.length - CHANNELS_NAMED;
  return more > 0 ? `${some} and ${count(more)} more` : some;
}

function setFact(id, text, worrying = false) {
  setText(id, text);
  element(id).classList.toggle("worrying", worrying);
}
