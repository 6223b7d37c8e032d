/**
 * Begins the page: shows it, then starts the engine.
 * @module
 */
import { render } from "preact";
import "./style/main.css";
import { App } from "./app.tsx";
import { haltWith, startEngine } from "./engine.ts";
import { announce } from "./state/announcement.ts";
import { refreshShelf } from "./state/shelf.ts";
import { findResumable, phase, phaseText, training } from "./state/training.ts";

const root = document.getElementById("studio")!;
root.replaceChildren();
render(<App />, root);

startEngine((event) => {
  if (event.event !== "deviceLost") return;
  if (event.recovering) {
    phase.value = "recovering";
    phaseText.value = event.error.title;
    announce(event.error.title);
  } else if (!haltWith(event.error)) training.error.value = event.error;
}).then((works) => works ? Promise.all([refreshShelf(), findResumable()]) : null);
