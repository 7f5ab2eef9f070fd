// Small things that the panels share.

import { share } from "./format.js";

/** Pixels of a chart from top to bottom. */
export const HEIGHT = 280;

export const element = (id) => document.getElementById(id);

/** Write a text where it is not there already. */
export function setText(place, text) {
  const found = typeof place === "string" ? element(place) : place;
  if (found.textContent !== text) found.textContent = text;
}

/** A text as filters compare it. */
export const folded = (text) => text.trim().toLowerCase();

export const heardInWords = (heard) => {
  if (heard === null) return "nobody can say how much was heard";
  return heard >= 1 ? "all of it heard" : `${share(heard)} of it heard`;
};

/** For Rows: begins each row with a radio button that chooses it; arrow keys go from one to the next. */
export const chooser = (name, choose, chosen) => (row, item) => {
  const button = document.createElement("input");
  Object.assign(button, { type: "radio", name, checked: item.id === chosen() });
  button.addEventListener("change", () => choose(item.id));
  const label = document.createElement("label");
  label.append(button, ...row.firstElementChild.childNodes);
  row.firstElementChild.append(label);
};
