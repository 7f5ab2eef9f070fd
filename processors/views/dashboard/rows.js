// Rows of a table, written over only where something changed. Text goes in as text, never as markup.

/** Most rows that a table shows; a filter reaches the others. */
export const ROWS_MAX = 50;

export class Rows {
  /**
   * body    a tbody
   * cells   (item) -> texts, one a column
   * begin   (row, item), optional: prepares a row that is new; may put something before the first cell's text
   */
  constructor(body, cells, begin = () => {}) {
    Object.assign(this, { body, cells, begin });
    this.rows = new Map(); // key -> { row, texts, places: the nodes whose text is written }
  }

  /** Show these items, each under its key, in their order. */
  show(items, keyOf) {
    const keys = items.map(keyOf);
    const shown = new Set(keys);
    for (const [key, { row }] of this.rows) {
      if (shown.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    let place = this.body.firstElementChild;
    items.forEach((item, at) => {
      const row = this.rowOf(keys[at], item);
      if (row === place) place = place.nextElementSibling;
      else this.body.insertBefore(row, place);
    });
  }

  rowOf(key, item) {
    let known = this.rows.get(key);
    const texts = this.cells(item);
    if (known === undefined) {
      const row = document.createElement("tr");
      const places = texts.map((_, at) => {
        const cell = row.appendChild(document.createElement(at === 0 ? "th" : "td"));
        if (at === 0) cell.scope = "row";
        return at === 0 ? cell.appendChild(document.createElement("bdi")) : cell;
      });
      known = { row, places, texts: [] };
      this.begin(row, item);
      this.rows.set(key, known);
    }
    texts.forEach((text, at) => {
      if (known.texts[at] !== text) known.places[at].textContent = text;
    });
    known.texts = texts;
    return known.row;
  }
}
